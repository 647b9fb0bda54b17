"""The meaning of bytes: serializers, JSON types, compression, entities and messages. Imports nothing above itself."""
