# Header: the flag word in front of a list of AMQP 0-9-1 basic properties (4.2.6.1, 1.8.3), bit 15 first, in the order
# of the list. All are short strings but headers (table), delivery mode and priority (u8), timestamp (u64).

cdef enum:
    PROP_CONTENT_TYPE = 0x8000
    PROP_CONTENT_ENCODING = 0x4000
    PROP_HEADERS = 0x2000
    PROP_DELIVERY_MODE = 0x1000
    PROP_PRIORITY = 0x0800
    PROP_CORRELATION_ID = 0x0400
    PROP_REPLY_TO = 0x0200
    PROP_EXPIRATION = 0x0100
    PROP_MESSAGE_ID = 0x0080
    PROP_TIMESTAMP = 0x0040
    PROP_TYPE = 0x0020
    PROP_USER_ID = 0x0010
    PROP_APP_ID = 0x0008
    PROP_CLUSTER_ID = 0x0004
    PROP_NONE = 0x0003          # bit 1 names nothing; bit 0 announces a second flag word, which basic never has
