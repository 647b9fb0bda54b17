"""Every setting, one row each: the one table that the app, the checks and docs/settings.md read.

A row is a value, there is no behaviour here. Of the two columns of defaults, *celery* is what Celery 5.7
documents, and *fastq* differs where Celery's default loses tasks or takes over the program it runs in; such a
row says why. A setting that is accepted and that nothing reads says why that is, in *idle*; one without a text belongs
to a result store that fastq does not have, and is known so that a configuration that has it loads.
"""

from __future__ import annotations

from datetime import timedelta
from math import inf
from typing import Any, NamedTuple

from fastq.log import PROCESS_FORMAT, TASK_FORMAT

SAME: Any = type("Same", (), {"__repr__": lambda _: "SAME"})()

NO_BEAT = "fastq has no scheduler yet; on Redis and RabbitMQ `celery beat` can send to its queues"
NO_EVENTS = "fastq sends no events yet"
NO_REPRS = f"{NO_EVENTS}; the messages carry argsrepr and kwargsrepr all the same"
NO_POOL = "a process sends over one connection"
NO_RETRY = ("a worker tries until a result is stored; who reads waits for a store that is away as retry_policy in "
            "result_backend_transport_options says")
NO_SIGNING = "fastq does not sign messages"
NO_STORE = "fastq has no result store that it belongs to"
MAILBOX = "the queues of remote control are always exclusive, and expire as Celery's do by default"
OWN_PARTS = "the parts of a worker cannot be exchanged"


class Setting(NamedTuple):
    """One setting: *type* is Celery's word for it, *takes* the kinds of value allowed where that is not all."""

    name: str
    old: str
    type: str
    celery: Any
    fastq: Any = SAME
    takes: str = ""
    doc: str = ""
    idle: str = ""

    def default(self, preset: str) -> Any:
        """Return the default in *preset*, ``"Fastq"`` or ``"Celery"``."""
        return self.celery if preset == "Celery" or self.fastq is SAME else self.fastq

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of value that it takes, the first being the usual one."""
        return tuple((self.takes or self.type).split())

    @property
    def why_idle(self) -> str:
        """Why it has no effect, as the end of a sentence; empty where it has one."""
        return self.idle or ("" if self.doc else NO_STORE)


CELERY_ROWS = (
    Setting("accept_content", "CELERY_ACCEPT_CONTENT", "list", ["json"], takes="list none",
            doc="Content types, or serializer names, that a worker opens; a body of any other is refused unopened. "
                "JSON only, since unpickling a message runs whatever its sender likes."),
    Setting("arangodb_backend_settings", "CELERY_ARANGODB_BACKEND_SETTINGS", "dict", None),
    Setting("azureblockblob_base_path", "AZUREBLOCKBLOB_BASE_PATH", "string", ""),
    Setting("azureblockblob_connection_timeout", "AZUREBLOCKBLOB_CONNECTION_TIMEOUT", "int", 20),
    Setting("azureblockblob_container_name", "AZUREBLOCKBLOB_CONTAINER_NAME", "string", "celery"),
    Setting("azureblockblob_read_timeout", "AZUREBLOCKBLOB_READ_TIMEOUT", "int", 120),
    Setting("azureblockblob_retry_increment_base", "AZUREBLOCKBLOB_RETRY_INCREMENT_BASE", "int", 2),
    Setting("azureblockblob_retry_initial_backoff_sec", "AZUREBLOCKBLOB_RETRY_INITIAL_BACKOFF_SEC", "int", 2),
    Setting("azureblockblob_retry_max_attempts", "AZUREBLOCKBLOB_RETRY_MAX_ATTEMPTS", "int", 3),
    Setting("beat_cron_starting_deadline", "CELERYBEAT_CRON_STARTING_DEADLINE", "int", None, idle=NO_BEAT),
    Setting("beat_enable_remote_control", "CELERYBEAT_ENABLE_REMOTE_CONTROL", "bool", False, idle=NO_BEAT),
    Setting("beat_max_loop_interval", "CELERYBEAT_MAX_LOOP_INTERVAL", "float", 0, takes="float none", idle=NO_BEAT),
    Setting("beat_remote_control_max_tick_age", "CELERYBEAT_REMOTE_CONTROL_MAX_TICK_AGE", "float", None, idle=NO_BEAT),
    Setting("beat_schedule", "CELERYBEAT_SCHEDULE", "dict", {}, takes="dict none", idle=NO_BEAT),
    Setting("beat_schedule_filename", "CELERYBEAT_SCHEDULE_FILENAME", "string", "celerybeat-schedule",
            takes="string path", idle=NO_BEAT),
    Setting("beat_scheduler", "CELERYBEAT_SCHEDULER", "string", "celery.beat:PersistentScheduler", takes="string class",
            idle=NO_BEAT),
    Setting("beat_sync_every", "CELERYBEAT_SYNC_EVERY", "int", 0, idle=NO_BEAT),
    Setting("broker_channel_error_retry", "BROKER_CHANNEL_ERROR_RETRY", "bool", False,
            idle="what a channel error breaks is always opened again, as after a lost connection"),
    Setting("broker_connection_max_retries", "BROKER_CONNECTION_MAX_RETRIES", "int", 100, fastq=None, takes="int none",
            doc="Attempts before a lost broker is given up; None or 0 never gives up. Fastq never does: a worker that "
                "quits in a broker's outage has to be noticed and started by somebody."),
    Setting("broker_connection_retry", "BROKER_CONNECTION_RETRY", "bool", True,
            doc="Reconnect when the broker is lost."),
    Setting("broker_connection_retry_on_startup", "BROKER_CONNECTION_RETRY_ON_STARTUP", "bool", None, fastq=True,
            doc="Wait for a broker that is not up yet when the worker starts; None does as broker_connection_retry "
                "says. Fastq waits: after a reboot nothing orders the two."),
    Setting("broker_connection_timeout", "BROKER_CONNECTION_TIMEOUT", "float", 4, takes="float none",
            doc="Seconds to wait for a connection to open."),
    Setting("broker_failover_strategy", "BROKER_FAILOVER_STRATEGY", "string", None, takes="string callable",
            doc="Order in which several brokers are tried: 'round-robin' (None), 'shuffle', or a callable."),
    Setting("broker_heartbeat", "BROKER_HEARTBEAT", "int", 120, takes="float none",
            doc="Seconds between heartbeats on AMQP; 0 or None turns them off."),
    Setting("broker_heartbeat_checkrate", "BROKER_HEARTBEAT_CHECKRATE", "int", 3.0, takes="float",
            idle="heartbeats are looked at when they are due"),
    Setting("broker_host", "BROKER_HOST", "string", None,
            doc="Host of the broker, where there is no broker_url."),
    Setting("broker_login_method", "BROKER_LOGIN_METHOD", "string", None,
            doc="SASL mechanism on AMQP: 'PLAIN', 'AMQPLAIN', 'EXTERNAL'; None lets the broker choose."),
    Setting("broker_native_delayed_delivery_queue_type", "BROKER_NATIVE_DELAYED_DELIVERY_QUEUE_TYPE", "string",
            "quorum",
            doc="Type of the queues that hold future tasks on RabbitMQ: 'quorum' or 'classic'."),
    Setting("broker_password", "BROKER_PASSWORD", "string", None,
            doc="Password, where the URL has none."),
    Setting("broker_pool_acquire_timeout", "BROKER_POOL_ACQUIRE_TIMEOUT", "float", None, idle=NO_POOL),
    Setting("broker_pool_limit", "BROKER_POOL_LIMIT", "int", 10, takes="int none", idle=NO_POOL),
    Setting("broker_port", "BROKER_PORT", "int", None, takes="int string",
            doc="Port, where the URL has none."),
    Setting("broker_read_url", "BROKER_READ_URL", "string", None, takes="string list",
            doc="Broker that workers consume from; None is broker_url."),
    Setting("broker_transport", "BROKER_TRANSPORT", "string", None,
            doc="Name of the transport, where there is no URL."),
    Setting("broker_transport_options", "BROKER_TRANSPORT_OPTIONS", "dict", {}, takes="dict none",
            doc="Options of the transport, as its page lists them."),
    Setting("broker_url", "BROKER_URL", "string", None, takes="string list",
            doc="Broker, or several for failover (a list, or one text joined by ';'). None: Fastq uses an SQLite file "
                "beside the program, Celery means amqp://guest@localhost//."),
    Setting("broker_use_ssl", "BROKER_USE_SSL", "bool", False, takes="bool dict",
            doc="TLS to the broker: True, or a dict of ca_certs, certfile, keyfile, cert_reqs, server_hostname, ... "
                "The broker's certificate is checked unless that says otherwise."),
    Setting("broker_user", "BROKER_USER", "string", None,
            doc="User, where the URL has none."),
    Setting("broker_vhost", "BROKER_VHOST", "string", None,
            doc="Virtual host, where the URL has none."),
    Setting("broker_write_url", "BROKER_WRITE_URL", "string", None, takes="string list",
            doc="Broker that clients publish to; None is broker_url."),
    Setting("cache_backend", "CELERY_CACHE_BACKEND", "string", None),
    Setting("cache_backend_options", "CELERY_CACHE_BACKEND_OPTIONS", "dict", {}),
    Setting("cassandra_auth_kwargs", "CASSANDRA_AUTH_KWARGS", "string", None, takes="dict"),
    Setting("cassandra_auth_provider", "CASSANDRA_AUTH_PROVIDER", "string", None),
    Setting("cassandra_bundle_path", "CASSANDRA_BUNDLE_PATH", "string", None),
    Setting("cassandra_entry_ttl", "CASSANDRA_ENTRY_TTL", "float", None),
    Setting("cassandra_keyspace", "CASSANDRA_KEYSPACE", "string", None),
    Setting("cassandra_options", "CASSANDRA_OPTIONS", "dict", {}),
    Setting("cassandra_port", "CASSANDRA_PORT", "string", None, takes="int string"),
    Setting("cassandra_read_consistency", "CASSANDRA_READ_CONSISTENCY", "string", None),
    Setting("cassandra_servers", "CASSANDRA_SERVERS", "list", None),
    Setting("cassandra_table", "CASSANDRA_TABLE", "string", None),
    Setting("cassandra_write_consistency", "CASSANDRA_WRITE_CONSISTENCY", "string", None),
    Setting("control_exchange", "CONTROL_EXCHANGE", "string", "celery",
            doc="Name from which the exchanges of remote control are made."),
    Setting("control_queue_durable", "CONTROL_QUEUE_DURABLE", "bool", False, idle=MAILBOX),
    Setting("control_queue_exclusive", "CONTROL_QUEUE_EXCLUSIVE", "bool", True, idle=MAILBOX),
    Setting("control_queue_expires", "CONTROL_QUEUE_EXPIRES", "float", 10.0, takes="float none", idle=MAILBOX),
    Setting("control_queue_ttl", "CONTROL_QUEUE_TTL", "float", 300.0, takes="float none", idle=MAILBOX),
    Setting("cosmosdbsql_collection_name", "COSMOSDBSQL_COLLECTION_NAME", "string", "celerycol"),
    Setting("cosmosdbsql_consistency_level", "COSMOSDBSQL_CONSISTENCY_LEVEL", "string", "Session"),
    Setting("cosmosdbsql_database_name", "COSMOSDBSQL_DATABASE_NAME", "string", "celerydb"),
    Setting("cosmosdbsql_max_retry_attempts", "COSMOSDBSQL_MAX_RETRY_ATTEMPTS", "int", 9),
    Setting("cosmosdbsql_max_retry_wait_time", "COSMOSDBSQL_MAX_RETRY_WAIT_TIME", "int", 30),
    Setting("couchbase_backend_settings", "CELERY_COUCHBASE_BACKEND_SETTINGS", "dict", None),
    Setting("database_create_tables_at_setup", "DATABASE_CREATE_TABLES_AT_SETUP", "bool", True),
    Setting("database_engine_callback", "DATABASE_ENGINE_CALLBACK", "any", None, takes="callable string"),
    Setting("database_engine_options", "CELERY_RESULT_ENGINE_OPTIONS", "dict",
            {"pool_pre_ping": True, "pool_recycle": 3600}, takes="dict none"),
    Setting("database_short_lived_sessions", "CELERY_RESULT_DB_SHORT_LIVED_SESSIONS", "bool", False),
    Setting("database_table_names", "CELERY_RESULT_DB_TABLENAMES", "dict", None),
    Setting("database_table_schemas", "DATABASE_TABLE_SCHEMAS", "dict", None),
    Setting("database_url", "CELERY_RESULT_DBURI", "string", None),
    Setting("elasticsearch_max_retries", "CELERY_ELASTICSEARCH_MAX_RETRIES", "int", None),
    Setting("elasticsearch_retry_on_timeout", "CELERY_ELASTICSEARCH_RETRY_ON_TIMEOUT", "bool", None),
    Setting("elasticsearch_save_meta_as_text", "CELERY_ELASTICSEARCH_SAVE_META_AS_TEXT", "bool", True),
    Setting("elasticsearch_timeout", "CELERY_ELASTICSEARCH_TIMEOUT", "float", None),
    Setting("enable_utc", "ENABLE_UTC", "bool", True,
            doc="Count times in UTC; if False, in the local zone or in timezone."),
    Setting("event_exchange", "CELERY_EVENT_EXCHANGE", "string", "celeryev", idle=NO_EVENTS),
    Setting("event_queue_durable", "CELERY_EVENT_QUEUE_DURABLE", "bool", False, idle=NO_EVENTS),
    Setting("event_queue_exclusive", "CELERY_EVENT_QUEUE_EXCLUSIVE", "bool", True, idle=NO_EVENTS),
    Setting("event_queue_expires", "CELERY_EVENT_QUEUE_EXPIRES", "float", 60.0, takes="float none", idle=NO_EVENTS),
    Setting("event_queue_prefix", "CELERY_EVENT_QUEUE_PREFIX", "string", "celeryev", idle=NO_EVENTS),
    Setting("event_queue_ttl", "CELERY_EVENT_QUEUE_TTL", "float", 5.0, takes="float none", idle=NO_EVENTS),
    Setting("event_serializer", "CELERY_EVENT_SERIALIZER", "string", "json", idle=NO_EVENTS),
    Setting("gcs_base_path", "GCS_BASE_PATH", "string", ""),
    Setting("gcs_bucket", "GCS_BUCKET", "string", None),
    Setting("gcs_project", "GCS_PROJECT", "string", None),
    Setting("gcs_ttl", "GCS_TTL", "float", 0, takes="float none"),
    Setting("imports", "CELERY_IMPORTS", "tuple", [], takes="tuple string",
            doc="Modules to import when a worker starts, before those of include."),
    Setting("include", "CELERY_INCLUDE", "tuple", [], takes="tuple string",
            doc="Modules to import when a worker starts; the app's include= argument sets it."),
    Setting("mongodb_backend_settings", "CELERY_MONGODB_BACKEND_SETTINGS", "dict", None),
    Setting("redis_backend_use_ssl", "CELERY_REDIS_BACKEND_USE_SSL", "dict", None, takes="dict bool",
            doc="TLS to the result store on Redis: a dict of ssl options, or True."),
    Setting("redis_db", "CELERY_REDIS_DB", "int", None, takes="int string",
            doc="Database of the result store where result_backend is only 'redis'; None is 0."),
    Setting("redis_host", "CELERY_REDIS_HOST", "string", None,
            doc="Host of the result store where result_backend names none; None is localhost."),
    Setting("redis_max_connections", "CELERY_REDIS_MAX_CONNECTIONS", "int", None,
            idle="a process has two connections to the result store on Redis at most"),
    Setting("redis_password", "CELERY_REDIS_PASSWORD", "string", None,
            doc="Password at the result store, where result_backend has none."),
    Setting("redis_port", "CELERY_REDIS_PORT", "int", None, takes="int string",
            doc="Port of the result store where result_backend names no host; None is 6379."),
    Setting("redis_retry_on_timeout", "CELERY_REDIS_RETRY_ON_TIMEOUT", "bool", False,
            idle="what the result store on Redis did not answer is asked once more anyway"),
    Setting("redis_socket_connect_timeout", "CELERY_REDIS_SOCKET_CONNECT_TIMEOUT", "float", None,
            doc="Seconds to wait for a connection to the result store on Redis; None is 4."),
    Setting("redis_socket_keepalive", "CELERY_REDIS_SOCKET_KEEPALIVE", "bool", False,
            idle="connections to the result store on Redis always have TCP keepalive"),
    Setting("redis_socket_timeout", "CELERY_REDIS_SOCKET_TIMEOUT", "float", 120.0, fastq=5.0, takes="float none",
            doc="Seconds to wait for an answer of the result store on Redis; None is 5. Fastq waits for 5: a worker "
                "whose store hangs for longer than broker_lease loses the messages that it holds."),
    Setting("redis_username", "CELERY_REDIS_USERNAME", "string", None,
            doc="User at the result store, where result_backend has none."),
    Setting("result_accept_content", "RESULT_ACCEPT_CONTENT", "list", None,
            doc="Content types accepted in results; None is accept_content."),
    Setting("result_backend", "CELERY_RESULT_BACKEND", "string", None, takes="string class",
            doc="Result store: 'redis://host:6379/0' (also 'rediss://', 'redis+socket:///path', 'sentinel://host', or "
                "'redis' alone), 'sqlite:///file.db'; 'rpc://' sends each result over RabbitMQ to the process that "
                "sent the task. None: Fastq keeps results in the embedded broker's file, Celery keeps none."),
    Setting("result_backend_always_retry", "CELERY_RESULT_BACKEND_ALWAYS_RETRY", "bool", False, idle=NO_RETRY),
    Setting("result_backend_base_sleep_between_retries_ms", "CELERY_RESULT_BACKEND_BASE_SLEEP_BETWEEN_RETRIES_MS",
            "int", 10, idle=NO_RETRY),
    Setting("result_backend_max_retries", "CELERY_RESULT_BACKEND_MAX_RETRIES", "float", inf, idle=NO_RETRY),
    Setting("result_backend_max_sleep_between_retries_ms", "CELERY_RESULT_BACKEND_MAX_SLEEP_BETWEEN_RETRIES_MS",
            "int", 10000, idle=NO_RETRY),
    Setting("result_backend_transport_options", "CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS", "dict", {},
            doc="Options of the result store. On Redis: global_keyprefix, master_name, sentinel_kwargs, retry_policy, "
                "result_chord_ordered."),
    Setting("result_cache_max", "CELERY_MAX_CACHED_RESULTS", "int", -1, takes="int none",
            idle="a result is kept by its own handle alone"),
    Setting("result_chord_expires", "CELERY_RESULT_CHORD_EXPIRES", "float", None, takes="float timedelta",
            doc="Seconds that the parts of a chord are kept; None is result_expires."),
    Setting("result_chord_join_timeout", "CELERY_RESULT_CHORD_JOIN_TIMEOUT", "float", 3.0, takes="float none",
            doc="Seconds to wait for each part when a chord's results are gathered."),
    Setting("result_chord_retry_interval", "CELERY_RESULT_CHORD_RETRY_INTERVAL", "float", 1.0,
            doc="Seconds between two looks at a chord on stores that cannot count."),
    Setting("result_compression", "CELERY_RESULT_COMPRESSION", "str", None,
            doc="Compression of stored results: 'gzip', 'bzip2', 'lzma', 'brotli', 'zstd'; not over rpc://. On Redis "
                "results do not leave with the acks then, but before: the server cannot read them, and a SUCCESS is "
                "to stay."),
    Setting("result_exchange", "CELERY_RESULT_EXCHANGE", "string", "celeryresults",
            idle="rpc:// sends results to the exchange that every broker has"),
    Setting("result_exchange_type", "CELERY_RESULT_EXCHANGE_TYPE", "string", "direct",
            idle="rpc:// sends results to the exchange that every broker has"),
    Setting("result_expires", "CELERY_TASK_RESULT_EXPIRES", "float", timedelta(days=1), takes="float timedelta none",
            doc="Seconds, or a timedelta, that a result is kept; None or 0 keeps it for ever."),
    Setting("result_extended", "CELERY_RESULT_EXTENDED", "bool", False,
            doc="Store name, arguments, worker, retries and queue with each result."),
    Setting("result_failure_expires", "CELERY_RESULT_FAILURE_EXPIRES", "float", None, takes="float timedelta",
            doc="Seconds that a failure is kept; None is result_expires."),
    Setting("result_persistent", "CELERY_RESULT_PERSISTENT", "bool", None,
            idle="the queue in which rpc:// brings results ends with its connection"),
    Setting("result_serializer", "CELERY_RESULT_SERIALIZER", "string", "json",
            doc="Serializer of results."),
    Setting("s3_access_key_id", "S3_ACCESS_KEY_ID", "string", None),
    Setting("s3_base_path", "S3_BASE_PATH", "string", None),
    Setting("s3_bucket", "S3_BUCKET", "string", None),
    Setting("s3_endpoint_url", "S3_ENDPOINT_URL", "string", None),
    Setting("s3_region", "S3_REGION", "string", None),
    Setting("s3_secret_access_key", "S3_SECRET_ACCESS_KEY", "string", None),
    Setting("security_cert_store", "CELERY_SECURITY_CERT_STORE", "string", None, takes="string path", idle=NO_SIGNING),
    Setting("security_certificate", "CELERY_SECURITY_CERTIFICATE", "string", None, takes="string path",
            idle=NO_SIGNING),
    Setting("security_digest", "CELERY_SECURITY_DIGEST", "string", "sha256", idle=NO_SIGNING),
    Setting("security_key", "CELERY_SECURITY_KEY", "string", None, takes="string path", idle=NO_SIGNING),
    Setting("security_key_password", "CELERY_SECURITY_KEY_PASSWORD", "bytes", None, takes="bytes string",
            idle=NO_SIGNING),
    Setting("task_acks_late", "CELERY_ACKS_LATE", "bool", False, fastq=True,
            doc="Acknowledge a message after its task has run, not before. Fastq does: acknowledged first, a task is "
                "lost when its worker dies."),
    Setting("task_acks_on_failure", "CELERY_ACKS_ON_FAILURE", "bool", None,
            doc="Acknowledge a late task that raised, also SoftTimeLimitExceeded; if False its message is kept among "
                "the dead letters. None does as task_acks_on_failure_or_timeout says."),
    Setting("task_acks_on_failure_or_timeout", "CELERY_ACKS_ON_FAILURE_OR_TIMEOUT", "bool", True,
            doc="Acknowledge a late task that raised or was over its hard time limit."),
    Setting("task_acks_on_timeout", "CELERY_ACKS_ON_TIMEOUT", "bool", None,
            doc="Acknowledge a late task that was over its hard time limit; if False it is put back, and "
                "task_max_deaths counts. None does as task_acks_on_failure_or_timeout says."),
    Setting("task_allow_error_cb_on_chord_header", "CELERY_ALLOW_ERROR_CB_ON_CHORD_HEADER", "bool", False,
            doc="Attach a chord's errbacks to the tasks of its header too."),
    Setting("task_always_eager", "CELERY_ALWAYS_EAGER", "bool", False,
            doc="Run tasks in the caller instead of publishing them; for tests."),
    Setting("task_annotations", "CELERY_ANNOTATIONS", "any", None,
            doc="Changes to tasks by name: {'proj.add': {'rate_limit': '10/s'}}; '*' is every task."),
    Setting("task_compression", "CELERY_MESSAGE_COMPRESSION", "string", None,
            doc="Compression of task messages: 'gzip', 'bzip2', 'lzma', 'brotli', 'zstd'."),
    Setting("task_create_missing_queue_exchange_type", "CELERY_CREATE_MISSING_QUEUE_EXCHANGE_TYPE", "string", None,
            doc="Exchange type of queues made because they were named; None is 'direct'."),
    Setting("task_create_missing_queue_type", "CELERY_CREATE_MISSING_QUEUE_TYPE", "string", "classic",
            fastq="quorum",
            doc="Type on RabbitMQ of queues made because they were named: 'classic' or 'quorum'. Fastq takes quorum, "
                "as for task_default_queue_type."),
    Setting("task_create_missing_queues", "CELERY_CREATE_MISSING_QUEUES", "bool", True,
            doc="Make a queue that is named but not in task_queues; if False that is an error."),
    Setting("task_default_delivery_mode", "CELERY_DEFAULT_DELIVERY_MODE", "string", 2, takes="int string",
            doc="2 or 'persistent' writes messages to the broker's disk, 1 or 'transient' does not."),
    Setting("task_default_exchange", "CELERY_DEFAULT_EXCHANGE", "string", None,
            doc="Exchange of the default queue; None is task_default_queue."),
    Setting("task_default_exchange_type", "CELERY_DEFAULT_EXCHANGE_TYPE", "string", "direct",
            doc="Type of that exchange."),
    Setting("task_default_priority", "CELERY_DEFAULT_PRIORITY", "string", None, takes="int",
            doc="Priority of tasks that have none, 0 to 9, the higher served first."),
    Setting("task_default_queue", "CELERY_DEFAULT_QUEUE", "string", "celery",
            doc="Queue of tasks that no route sends elsewhere. Both presets say 'celery', so both fleets share it."),
    Setting("task_default_queue_type", "CELERY_DEFAULT_QUEUE_TYPE", "string", "classic", fastq="quorum",
            doc="Type of the default queue on RabbitMQ: 'classic' or 'quorum'; embedded brokers ignore it. Fastq takes "
                "quorum, also for queues of task_queues that name no type: they outlive a broker of a cluster, and a "
                "worker drains them 3 to 5 times as fast. Where task_queue_max_priority is set and no type, both "
                "presets take classic, as RabbitMQ has no quorum queues with priorities."),
    Setting("task_default_rate_limit", "CELERY_DEFAULT_RATE_LIMIT", "string", None, takes="string float",
            doc="Rate limit of tasks that have none: '10/s', '100/m', '500/h'."),
    Setting("task_default_routing_key", "CELERY_DEFAULT_ROUTING_KEY", "string", None,
            doc="Routing key of the default queue; None is task_default_queue."),
    Setting("task_eager_propagates", "CELERY_EAGER_PROPAGATES_EXCEPTIONS", "bool", False,
            doc="Raise what an eager task raises, in the caller."),
    Setting("task_ignore_result", "CELERY_IGNORE_RESULT", "bool", False,
            doc="Store no results, unless the task says otherwise."),
    Setting("task_inherit_parent_priority", "CELERY_INHERIT_PARENT_PRIORITY", "bool", False,
            doc="Give a task the priority of the task that called it."),
    Setting("task_protocol", "CELERY_TASK_PROTOCOL", "int", 2,
            idle="what is sent is of protocol 2, which workers of Celery read since 3.1.24; both are received"),
    Setting("task_publish_retry", "CELERY_TASK_PUBLISH_RETRY", "bool", True,
            doc="Publish again when the connection is lost on the way."),
    Setting("task_publish_retry_policy", "CELERY_TASK_PUBLISH_RETRY_POLICY", "dict",
            {"interval_max": 1, "interval_start": 0, "interval_step": 0.2, "max_retries": 3}, takes="dict none",
            doc="How often and how fast: max_retries, interval_start, interval_step, interval_max (seconds)."),
    Setting("task_queue_max_priority", "CELERY_QUEUE_MAX_PRIORITY", "int", None,
            doc="Highest priority that queues are declared with on RabbitMQ; they are classic queues then."),
    Setting("task_queues", "CELERY_QUEUES", "dict", None, takes="list dict",
            doc="Queues that a worker consumes from; None is the default queue alone."),
    Setting("task_reject_on_worker_lost", "CELERY_REJECT_ON_WORKER_LOST", "bool", None, fastq=True,
            doc="Put a late task back when its child died; if not, it ends as a failure. Fastq puts it back, and "
                "task_max_deaths stops one that kills every worker."),
    Setting("task_remote_tracebacks", "CELERY_REMOTE_TRACEBACKS", "bool", False,
            doc="Raise a failed result with the worker's traceback (needs tblib)."),
    Setting("task_repr_maxlevels", "CELERY_REPR_MAXLEVELS", "int", 3,
            doc="Depth to which arguments are shown in logs and events."),
    Setting("task_retry_on_worker_lost", "CELERY_RETRY_ON_WORKER_LOST", "bool", False,
            doc="Retry a task whose child died, counted as one of its retries; it fails when they run out. Goes before "
                "task_reject_on_worker_lost."),
    Setting("task_routes", "CELERY_ROUTES", "any", None,
            doc="Which queue each task goes to: a dict by name or pattern, a callable, or a list of them."),
    Setting("task_send_sent_event", "CELERY_SEND_TASK_SENT_EVENT", "bool", False, idle=NO_REPRS),
    Setting("task_serializer", "CELERY_TASK_SERIALIZER", "string", "json",
            doc="Serializer of task messages."),
    Setting("task_soft_time_limit", "CELERYD_TASK_SOFT_TIME_LIMIT", "float", None,
            doc="Seconds after which SoftTimeLimitExceeded is raised in the task."),
    Setting("task_store_eager_result", "CELERY_STORE_EAGER_RESULT", "bool", False,
            doc="Store the results of eager tasks."),
    Setting("task_store_errors_even_if_ignored", "CELERY_STORE_ERRORS_EVEN_IF_IGNORED", "bool", False,
            doc="Store failures of tasks that ignore their result."),
    Setting("task_time_limit", "CELERYD_TASK_TIME_LIMIT", "float", None,
            doc="Seconds after which the child that runs the task is killed."),
    Setting("task_track_started", "CELERY_TRACK_STARTED", "bool", False, takes="bool none",
            doc="Store STARTED when a task begins."),
    Setting("timezone", "CELERY_TIMEZONE", "string", None, takes="string tzinfo",
            doc="Zone of schedules, and of times shown; None is UTC, or Django's TIME_ZONE where there is one."),
    Setting("worker_agent", "CELERYD_AGENT", "string", None, takes="string class", idle=OWN_PARTS),
    Setting("worker_autoscaler", "CELERYD_AUTOSCALER", "string", "celery.worker.autoscale:Autoscaler",
            takes="string class", idle=OWN_PARTS),
    Setting("worker_cancel_long_running_tasks_on_connection_loss",
            "CELERYD_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS", "bool", False,
            doc="End late tasks that run when the connection to RabbitMQ is lost, by killing their children: their "
                "messages come again. Else they go on, and what comes again is known as theirs. A child that also runs "
                "tasks which were acked early lives on. On Redis and SQLite nothing comes again, so nothing is ended."),
    Setting("worker_concurrency", "CELERYD_CONCURRENCY", "any", None, takes="int auto",
            doc="Tasks run at a time; None is the number of CPUs, 'auto' minds the container's quota."),
    Setting("worker_consumer", "CELERYD_CONSUMER", "string", "celery.worker.consumer:Consumer", takes="string class",
            idle=OWN_PARTS),
    Setting("worker_deduplicate_successful_tasks", "CELERYD_DEDUPLICATE_SUCCESSFUL_TASKS", "bool", False,
            doc="Ask the result store before a late task runs whose message has cost a worker or child before, and do "
                "not run one that has succeeded; its links are sent again. For results that are kept elsewhere than "
                "messages: kept with them, they leave in one step with the ack. Not with rpc://, which keeps none."),
    Setting("worker_detect_quorum_queues", "CELERYD_DETECT_QUORUM_QUEUES", "bool", True,
            idle="limits are always for each consumer, as quorum queues want"),
    Setting("worker_direct", "CELERY_WORKER_DIRECT", "bool", False,
            doc="Let each worker take from a queue of its own too, <its name>.dq2, so that a task can be sent to it: "
                "queue=fastq.utils.nodenames.worker_direct('w1@host'). It stays, with what is in it, when the worker "
                "is gone."),
    Setting("worker_disable_prefetch", "CELERYD_DISABLE_PREFETCH", "bool", False,
            doc="Take a message only when a child is free, on every broker; goes before worker_prefetch_multiplier. "
                "Else a worker holds more where tasks are short, and gives back what has to wait."),
    Setting("worker_disable_rate_limits", "CELERY_DISABLE_RATE_LIMITS", "bool", False,
            doc="Ignore every rate limit."),
    Setting("worker_enable_prefetch_count_reduction", "CELERYD_ENABLE_PREFETCH_COUNT_REDUCTION", "bool", True,
            idle="after a lost connection the tasks that run still count as held"),
    Setting("worker_enable_remote_control", "CELERY_ENABLE_REMOTE_CONTROL", "bool", True,
            doc="Answer remote control commands."),
    Setting("worker_enable_soft_shutdown_on_idle", "CELERYD_ENABLE_SOFT_SHUTDOWN_ON_IDLE", "bool", False,
            doc="Wait for worker_soft_shutdown_timeout even if nothing runs."),
    Setting("worker_eta_task_limit", "CELERYD_ETA_TASK_LIMIT", "int", None,
            idle="future tasks wait in the broker; a worker holds 256 at most, for less than a second"),
    Setting("worker_hijack_root_logger", "CELERYD_HIJACK_ROOT_LOGGER", "bool", True, fastq=False,
            doc="Replace the handlers of the root logger. Fastq leaves it alone: a library that does this silences the "
                "program's own logging."),
    Setting("worker_log_color", "CELERYD_LOG_COLOR", "bool", None,
            doc="Colour the log; None does on a terminal."),
    Setting("worker_log_datefmt", "CELERYD_LOG_DATEFMT", "string", None,
            doc="Format of %(asctime)s in worker_log_format."),
    Setting("worker_log_format", "CELERYD_LOG_FORMAT", "string", PROCESS_FORMAT,
            doc="Format of log lines."),
    Setting("worker_lost_wait", "CELERYD_WORKER_LOST_WAIT", "float", 10.0, idle="a dead child is noticed at once"),
    Setting("worker_max_memory_per_child", "CELERYD_MAX_MEMORY_PER_CHILD", "int", None,
            doc="Kibibytes of resident memory after which a child is replaced, once its task is done."),
    Setting("worker_max_tasks_per_child", "CELERYD_MAX_TASKS_PER_CHILD", "int", None,
            doc="Tasks after which a child is replaced."),
    Setting("worker_pool", "CELERYD_POOL", "string", "prefork", takes="string class",
            doc="Kind of children: prefork, solo, threads, asyncio, gevent, eventlet, or module:NAME of your own."),
    Setting("worker_pool_putlocks", "CELERYD_POOL_PUTLOCKS", "bool", True, idle="the pool has no such lock"),
    Setting("worker_pool_restarts", "CELERYD_POOL_RESTARTS", "bool", False,
            doc="Whether the remote command pool_restart may replace the children."),
    Setting("worker_pool_start_method", "CELERYD_POOL_START_METHOD", "string", "fork",
            doc="How children are made: 'fork', 'spawn' or 'forkserver' (on Linux)."),
    Setting("worker_prefetch_multiplier", "CELERYD_PREFETCH_MULTIPLIER", "int", 4,
            doc="Messages a worker may hold for each task it can run; 0 is no limit."),
    Setting("worker_proc_alive_timeout", "CELERYD_PROC_ALIVE_TIMEOUT", "float", 4.0,
            doc="Seconds that a new child has to say that it is up."),
    Setting("worker_redirect_stdouts", "CELERY_REDIRECT_STDOUTS", "bool", True, fastq=False,
            doc="Send what tasks print to the log. Fastq leaves the streams alone: a redirect breaks code that needs a "
                "real file."),
    Setting("worker_redirect_stdouts_level", "CELERY_REDIRECT_STDOUTS_LEVEL", "string", "WARNING", takes="string int",
            doc="Level at which it is logged."),
    Setting("worker_send_task_events", "CELERY_SEND_EVENTS", "bool", False, idle=NO_REPRS),
    Setting("worker_soft_shutdown_timeout", "CELERYD_SOFT_SHUTDOWN_TIMEOUT", "float", 0.0,
            doc="Seconds between a cold shutdown's signal and its end, for tasks to finish."),
    Setting("worker_state_db", "CELERYD_STATE_DB", "string", None, takes="string path",
            idle="revocations are kept in the broker"),
    Setting("worker_task_log_datefmt", "CELERYD_TASK_LOG_DATEFMT", "string", None,
            doc="Format of %(asctime)s in worker_task_log_format."),
    Setting("worker_task_log_format", "CELERYD_TASK_LOG_FORMAT", "string", TASK_FORMAT,
            doc="Format of lines logged by tasks."),
    Setting("worker_timer", "CELERYD_TIMER", "string", None, takes="string class", idle=OWN_PARTS),
    Setting("worker_timer_precision", "CELERYD_TIMER_PRECISION", "float", 1.0,
            idle="the worker sleeps until the next thing is due"),
)

# What Celery's code reads, although its table of defaults has no such row.
UNLISTED_ROWS = (
    Setting("cassandra_secure_bundle_path", "", "string", None),
    Setting("db_reuse_max", "CELERY_DB_REUSE_MAX", "int", None),
    Setting("dynamodb_endpoint_url", "", "string", None),
    Setting("firestore_project", "", "string", None),
    Setting("gcs_threadpool_maxsize", "", "int", None),
    Setting("override_backends", "", "dict", None, idle="result stores are those that fastq has"),
    Setting("redis_backend_credential_provider", "", "any", None,
            doc="What tells user and password at each connection to the result store on Redis: an object with "
                "get_credentials(), or where to import its class from."),
    Setting("redis_backend_health_check_interval", "", "float", None,
            idle="a connection that died is noticed within 30 s by TCP"),
    Setting("redis_client_name", "", "string", None,
            doc="Name of connections to the result store in CLIENT LIST; None is fastq-results."),
    Setting("result_backend_thread_safe", "", "bool", None, idle="every result store is safe to use from threads"),
    *(
        Setting(f"{program}_{option}", "", "string", None, takes=takes, doc="" if idle else doc, idle=idle)
        for program, idle in (("worker", ""), ("beat", NO_BEAT), ("events", NO_EVENTS))
        for option, takes, doc in (
            ("logfile", "string path", "Log file of `fastq worker`, unless its -f names one; %n, %h and %d of its name "
             "are filled in. With %i (0, 1, ...) or %I (nothing, -1, ...) each child has a file of its own."),
            ("pidfile", "string path", "Pid file of `fastq worker`, unless its --pidfile names one."),
            ("uid", "int string", "User, by number or name, that `fastq worker` becomes before it imports tasks or "
             "opens files, with the groups of that user. One that it may not become ends it."),
            ("gid", "int string", "Group, by number or name, that `fastq worker` becomes; of worker_uid without it."),
            ("umask", "string int", "Umask of `fastq worker`: a number, or octal text such as '022'."),
            ("executable", "string path", "Python in which `fastq worker -D` goes on, once its app has been imported."),
        )
    ),
)

FASTQ_ROWS = (
    Setting("broker_lease", "", "float", 30.0,
            doc="Seconds that a silent worker keeps its messages; then another worker gets them, so no lost task waits "
                "longer than this. A worker renews while it lives, so a long task needs no long lease."),
    Setting("task_workflow_inline", "", "bool", None, takes="bool none",
            doc="Whether each message carries the rest of its workflow, as Celery's workers need it. False: the result "
                "store keeps it once, and messages point to it; for queues that fastq's workers alone consume. None is "
                "False where nobody else can: on SQLite and in memory."),
    Setting("task_workflow_max_size", "", "int", 16 * 1024 * 1024, takes="int none",
            doc="Bytes that a message may have which carries the rest of a workflow; what would be larger is refused "
                "when it is sent, as is a workflow whose first messages have 256 times as much together. None is no "
                "limit. RabbitMQ 4 takes 16 MiB by default."),
    Setting("worker_processes", "", "int", None,
            doc="Children of a pool that runs many tasks at a time in each: threads, asyncio, gevent, eventlet. "
                "worker_concurrency is then for each child."),
    Setting("task_max_deaths", "", "int", 3, takes="int none",
            doc="Workers or children that one message may kill before it goes to the dead-letter queue, where it can "
                "be looked at and replayed; None is no limit. The same in both presets: nobody wants a crash loop."),
)

ROWS = (*CELERY_ROWS, *UNLISTED_ROWS, *FASTQ_ROWS)
