package drains

import (
	"fmt"

	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch"
	"github.com/ttydrain/ttydrain/sinks/https"
	"github.com/ttydrain/ttydrain/sinks/syslog"
)

// The default batch limits of a drain.
const (
	BatchRecords = 5000
	BatchBytes   = 4 << 20
)

// A Target describes the drain that records are delivered to.
type Target struct {
	// Type is "https", "elasticsearch" or "syslog".
	Type string
	// Address is host and port, or the URL of Elasticsearch.
	Address, CAFile string
	Format          https.Format // of https
	DataStream      string       // of elasticsearch
}

// Routed returns the drain for the router, with its default settings.
func (d Target) Routed(name string) drain.Drain {
	routed := drain.Drain{Name: name, Open: d.Open, BatchRecords: BatchRecords, BatchBytes: BatchBytes}
	if o, err := d.options(); err == nil {
		routed.Writers, routed.Alone = o.Limits().Concurrency, o.Limits().OneByOne
	}
	return routed
}

// Open opens a sink that writes to the drain.
func (d Target) Open() (sinks.Sink, error) {
	o, err := d.options()
	if err != nil {
		return nil, err
	}
	return o.Open()
}

func (d Target) options() (sinks.Opener, error) {
	switch d.Type {
	case "https":
		return https.Options{URL: "https://" + d.Address + "/", Format: d.Format, TLS: sinks.TLS{CAFile: d.CAFile}}, nil
	case "elasticsearch":
		return elasticsearch.Options{URLs: []string{d.Address}, DataStream: d.DataStream, ManageTemplate: true}, nil
	case "syslog":
		return syslog.Options{Address: d.Address, TLS: sinks.TLS{CAFile: d.CAFile}}, nil
	}
	return nil, fmt.Errorf("unknown drain type %q", d.Type)
}
