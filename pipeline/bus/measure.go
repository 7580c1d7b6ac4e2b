package bus

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/pipeline/measure"
	"github.com/ttydrain/ttydrain/schema"
)

// Register registers the metrics of the connection and, where the NATS is embedded, of its disk.
// They are read when they are asked for.
func (b *Bus) Register(r prometheus.Registerer) {
	gauge := func(name, help string, value func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: measure.Namespace, Name: name, Help: help}, value))
	}
	gauge("unreadable_sessions", "Sessions whose record could not be read when all were last listed, and that were passed over.",
		func() float64 { return float64(b.unreadable.Load()) })
	gauge("partitions", "Partitions of the streams: into how many parts the work can be divided.",
		func() float64 { return float64(b.partitions) })
	gauge("stream_retention_seconds", "How long the streams keep what was written: what a drain has not taken by then, it misses.",
		func() float64 { return b.retention.Seconds() })
	gauge("nats_connected", "Whether there is a connection to NATS: 1, or 0.", func() float64 {
		if b.conn.IsConnected() {
			return 1
		}
		return 0
	})
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: measure.Namespace, Name: "nats_reconnects_total",
		Help: "Times that a lost connection to NATS was made again."}, func() float64 { return float64(b.conn.Stats().Reconnects) }))
	for _, s := range streams {
		if !b.Has(s.name) || s.name == schema.StreamDeadLetter { // which nobody looks at
			continue
		}
		stream := func(name, help string, value func(Usage) uint64) {
			r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Namespace: measure.Namespace, Subsystem: "stream", Name: name, Help: help, ConstLabels: prometheus.Labels{"stream": s.name},
			}, func() float64 { return float64(value(b.usages.get(s.name))) }))
		}
		stream("bytes", "Bytes that the stream has, as of the last look.", func(u Usage) uint64 { return u.Bytes })
		stream("max_bytes", "Bytes that the stream may have (streams.max_bytes); 0 for no bound.", func(u Usage) uint64 { return u.Limit })
		stream("reserve_bytes", "Bytes of the stream's bound that are kept for sessions that show little; with less, others are held back.", Usage.reserve)
	}
	if b.disk == nil {
		return
	}
	r.MustRegister(b.embedded.took)
	gauge("store_free_bytes", "Bytes that are free on the disk of the store.", func() float64 {
		free, _, _ := b.disk.space() // as it could be read last
		return float64(free)
	})
	gauge("store_reserve_bytes", "Bytes of the disk of the store that ttydrain leaves free: with less, no session starts, and those that run end.", func() float64 {
		_, reserve, _ := b.disk.space()
		return float64(reserve)
	})
}

// space returns how many bytes of the disk are free, and how many are the reserve.
func (d *disk) space() (free, reserve uint64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err = d.look(time.Now())
	return d.free - min(d.written, d.free), d.reserve, err
}

// capacity returns the size of the disk.
func (d *disk) capacity() (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.look(time.Now())
	return int64(d.size), err
}
