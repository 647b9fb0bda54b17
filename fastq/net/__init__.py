"""Sockets to servers, with TLS and deadlines: what every client here needs, whatever it speaks then."""
