/* The methods of AMQP 0-9-1 and those that RabbitMQ adds, in ascending order.
 *
 * A form has a letter for each field, in the order of the wire:
 *   o h l q   unsigned integers of 8, 16, 32, 64 bits        s S   a short and a long string
 *   b         a bit; those side by side share octets         F     a table
 *   x y Y z   reserved: 16 bits, a short string, a long string, a bit
 */
#ifndef FASTQ_METHODS_H
#define FASTQ_METHODS_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint32_t number;            /* class << 16 | method */
    int carries;                /* content follows */
    const char *name;
    const char *form;
    const char *fields;         /* names, those of reserved ones left out */
} fq_method;

#define METHOD(class, method) ((uint32_t)(class) << 16 | (method))

static const fq_method fq_methods[] = {
    {METHOD(10, 10), 0, "connection.start", "ooFSS",
     "version_major version_minor server_properties mechanisms locales"},
    {METHOD(10, 11), 0, "connection.start-ok", "FsSs", "client_properties mechanism response locale"},
    {METHOD(10, 20), 0, "connection.secure", "S", "challenge"},
    {METHOD(10, 21), 0, "connection.secure-ok", "S", "response"},
    {METHOD(10, 30), 0, "connection.tune", "hlh", "channel_max frame_max heartbeat"},
    {METHOD(10, 31), 0, "connection.tune-ok", "hlh", "channel_max frame_max heartbeat"},
    {METHOD(10, 40), 0, "connection.open", "syz", "virtual_host"},
    {METHOD(10, 41), 0, "connection.open-ok", "y", ""},
    {METHOD(10, 50), 0, "connection.close", "hshh", "reply_code reply_text class_id method_id"},
    {METHOD(10, 51), 0, "connection.close-ok", "", ""},
    {METHOD(10, 60), 0, "connection.blocked", "s", "reason"},
    {METHOD(10, 61), 0, "connection.unblocked", "", ""},
    {METHOD(10, 70), 0, "connection.update-secret", "Ss", "new_secret reason"},
    {METHOD(10, 71), 0, "connection.update-secret-ok", "", ""},
    {METHOD(20, 10), 0, "channel.open", "y", ""},
    {METHOD(20, 11), 0, "channel.open-ok", "Y", ""},
    {METHOD(20, 20), 0, "channel.flow", "b", "active"},
    {METHOD(20, 21), 0, "channel.flow-ok", "b", "active"},
    {METHOD(20, 40), 0, "channel.close", "hshh", "reply_code reply_text class_id method_id"},
    {METHOD(20, 41), 0, "channel.close-ok", "", ""},
    {METHOD(40, 10), 0, "exchange.declare", "xssbbbbbF",
     "exchange type passive durable auto_delete internal nowait arguments"},
    {METHOD(40, 11), 0, "exchange.declare-ok", "", ""},
    {METHOD(40, 20), 0, "exchange.delete", "xsbb", "exchange if_unused nowait"},
    {METHOD(40, 21), 0, "exchange.delete-ok", "", ""},
    {METHOD(40, 30), 0, "exchange.bind", "xsssbF", "destination source routing_key nowait arguments"},
    {METHOD(40, 31), 0, "exchange.bind-ok", "", ""},
    {METHOD(40, 40), 0, "exchange.unbind", "xsssbF", "destination source routing_key nowait arguments"},
    {METHOD(40, 51), 0, "exchange.unbind-ok", "", ""},
    {METHOD(50, 10), 0, "queue.declare", "xsbbbbbF", "queue passive durable exclusive auto_delete nowait arguments"},
    {METHOD(50, 11), 0, "queue.declare-ok", "sll", "queue message_count consumer_count"},
    {METHOD(50, 20), 0, "queue.bind", "xsssbF", "queue exchange routing_key nowait arguments"},
    {METHOD(50, 21), 0, "queue.bind-ok", "", ""},
    {METHOD(50, 30), 0, "queue.purge", "xsb", "queue nowait"},
    {METHOD(50, 31), 0, "queue.purge-ok", "l", "message_count"},
    {METHOD(50, 40), 0, "queue.delete", "xsbbb", "queue if_unused if_empty nowait"},
    {METHOD(50, 41), 0, "queue.delete-ok", "l", "message_count"},
    {METHOD(50, 50), 0, "queue.unbind", "xsssF", "queue exchange routing_key arguments"},
    {METHOD(50, 51), 0, "queue.unbind-ok", "", ""},
    {METHOD(60, 10), 0, "basic.qos", "lhb", "prefetch_size prefetch_count global"},
    {METHOD(60, 11), 0, "basic.qos-ok", "", ""},
    {METHOD(60, 20), 0, "basic.consume", "xssbbbbF", "queue consumer_tag no_local no_ack exclusive nowait arguments"},
    {METHOD(60, 21), 0, "basic.consume-ok", "s", "consumer_tag"},
    {METHOD(60, 30), 0, "basic.cancel", "sb", "consumer_tag nowait"},
    {METHOD(60, 31), 0, "basic.cancel-ok", "s", "consumer_tag"},
    {METHOD(60, 40), 1, "basic.publish", "xssbb", "exchange routing_key mandatory immediate"},
    {METHOD(60, 50), 1, "basic.return", "hsss", "reply_code reply_text exchange routing_key"},
    {METHOD(60, 60), 1, "basic.deliver", "sqbss", "consumer_tag delivery_tag redelivered exchange routing_key"},
    {METHOD(60, 70), 0, "basic.get", "xsb", "queue no_ack"},
    {METHOD(60, 71), 1, "basic.get-ok", "qbssl", "delivery_tag redelivered exchange routing_key message_count"},
    {METHOD(60, 72), 0, "basic.get-empty", "y", ""},
    {METHOD(60, 80), 0, "basic.ack", "qb", "delivery_tag multiple"},
    {METHOD(60, 90), 0, "basic.reject", "qb", "delivery_tag requeue"},
    {METHOD(60, 100), 0, "basic.recover-async", "b", "requeue"},
    {METHOD(60, 110), 0, "basic.recover", "b", "requeue"},
    {METHOD(60, 111), 0, "basic.recover-ok", "", ""},
    {METHOD(60, 120), 0, "basic.nack", "qbb", "delivery_tag multiple requeue"},
    {METHOD(85, 10), 0, "confirm.select", "b", "nowait"},
    {METHOD(85, 11), 0, "confirm.select-ok", "", ""},
    {METHOD(90, 10), 0, "tx.select", "", ""},
    {METHOD(90, 11), 0, "tx.select-ok", "", ""},
    {METHOD(90, 20), 0, "tx.commit", "", ""},
    {METHOD(90, 21), 0, "tx.commit-ok", "", ""},
    {METHOD(90, 30), 0, "tx.rollback", "", ""},
    {METHOD(90, 31), 0, "tx.rollback-ok", "", ""},
};

#undef METHOD

enum { FQ_METHODS = sizeof fq_methods / sizeof *fq_methods };

/* The method of a number, or NULL. */
static inline const fq_method *fq_find_method(uint32_t number)
{
    size_t low = 0, high = FQ_METHODS;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (fq_methods[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < FQ_METHODS && fq_methods[low].number == number ? &fq_methods[low] : NULL;
}

#endif
