package bus

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/pipeline/measure"
	"github.com/ttydrain/ttydrain/schema"
)

// Register registers the metrics of the connection and, if NATS is embedded, of its disk. They are
// computed when they are collected.
func (b *Bus) Register(r prometheus.Registerer) {
	gauge := func(name, help string, value func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: measure.Namespace, Name: name, Help: help}, value))
	}
	gauge("unreadable_sessions", "Sessions whose record could not be read at the last listing.",
		func() float64 { return float64(b.unreadable.Load()) })
	gauge("partitions", "Partitions of the streams, which is the number of parts into which the work can be divided.",
		func() float64 { return float64(b.partitions) })
	gauge("stream_retention_seconds", "Retention of the streams; a drain misses records that are not delivered by then.",
		func() float64 { return b.retention.Seconds() })
	gauge("nats_connected", "Whether NATS is connected (1) or not (0).", func() float64 {
		if b.conn.IsConnected() {
			return 1
		}
		return 0
	})
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: measure.Namespace, Name: "nats_reconnects_total",
		Help: "Reconnections to NATS."}, func() float64 { return float64(b.conn.Stats().Reconnects) }))
	for _, s := range streams {
		if !b.Has(s.name) || s.name == schema.StreamDeadLetter || s.name == schema.StreamAudit { // not monitored
			continue
		}
		stream := func(name, help string, value func(Usage) uint64) {
			r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Namespace: measure.Namespace, Subsystem: "stream", Name: name, Help: help, ConstLabels: prometheus.Labels{"stream": s.name},
			}, func() float64 { return float64(value(b.usages.get(s.name))) }))
		}
		stream("bytes", "Size of the stream at the last check.", func(u Usage) uint64 { return u.Bytes })
		stream("max_bytes", "Maximum size of the stream (streams.max_bytes); 0 for no limit.", func(u Usage) uint64 { return u.Limit })
		stream("reserve_bytes", "Part of the stream's maximum size that is reserved for sessions with little output; below it, other sessions are held back.", Usage.reserve)
	}
	if b.disk == nil {
		return
	}
	r.MustRegister(b.embedded.syncDuration)
	gauge("store_free_bytes", "Free space on the disk of the store.", func() float64 {
		free, _, _ := b.disk.space() // the last successful reading
		return float64(free)
	})
	gauge("store_reserve_bytes", "Space on the disk of the store that ttydrain leaves free; below it, no session starts, and running ones end.", func() float64 {
		_, reserve, _ := b.disk.space()
		return float64(reserve)
	})
}

// space returns the number of free bytes of the disk, and its reserve.
func (d *disk) space() (free, reserve uint64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err = d.refresh(time.Now())
	return d.free - min(d.written, d.free), d.reserve, err
}

// capacity returns the size of the disk.
func (d *disk) capacity() (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.refresh(time.Now())
	return int64(d.size), err
}
