package peers

import (
	"github.com/ttydrain/ttydrain/bench/drains"
	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/receivers"
	"github.com/ttydrain/ttydrain/sinks/https"
)

// Groups returns a group for each comparison: a limit, ttydrain, and its peers.
func Groups() []measure.Group {
	c := comparisons{inputs: new(inputs), node: new(receivers.Node)}
	return []measure.Group{c.ndjson(), c.json(), c.syslog(), c.elasticsearch(), c.jetStream()}
}

// comparisons makes the groups. All of them share the inputs and the Elasticsearch node.
type comparisons struct {
	inputs *inputs
	node   *receivers.Node
}

// noConnect is the reason why Redpanda Connect is not measured.
const noConnect = "it is in no package of Debian, and no configuration of it was tried"

func (c comparisons) limit(l limit) *limit {
	l.inputs = c.inputs
	return &l
}

func (c comparisons) peer(p peer) *peer {
	p.inputs = c.inputs
	return &p
}

// rsyslogWith returns rsyslog with the module that reads a file, and another module.
func rsyslogWith(module string) *rsyslog { return &rsyslog{modules: []string{"imfile.so", module}} }

// syslogNGWith returns syslog-ng with the module that reads a file, and another module.
func syslogNGWith(module string) *syslogNG {
	return &syslogNG{modules: []string{module, "libaffile.so"}}
}

func (c comparisons) ndjson() measure.Group {
	to := receivers.HTTPS
	return measure.Group{
		c.limit(limit{key: "limit/https/ndjson", kind: inputJSON, share: drains.FastShare, to: to,
			setup: limitSetup{Protocol: "https", Batch: drains.BatchRecords, Connections: 4}}),
		drains.New("https/ndjson", drains.FastShare, to, drains.Target{Type: "https", Format: https.NDJSON}),
		c.peer(peer{key: "rsyslog/https/ndjson", program: rsyslogWith("omhttp.so"), kind: inputJSON, share: drains.FastShare, to: to}),
		c.peer(peer{key: "syslog-ng/https/ndjson", program: syslogNGWith("libhttp.so"), config: "syslog-ng-https-ndjson.conf",
			kind: inputJSON, share: drains.FastShare, to: to}),
		c.peer(peer{key: "telegraf/https/ndjson", program: new(telegraf), config: "telegraf-https-ndjson.conf",
			kind: inputJSON, share: drains.SlowShare, stream: true, to: to}),
		&peer{key: "redpanda-connect/https/ndjson", program: absent{noConnect}},
		c.peer(peer{key: "fluent-bit/https/ndjson", program: new(fluentBit), config: "fluent-bit-https-ndjson.yaml",
			kind: inputJSON, share: drains.FastShare, to: to}),
	}
}

func (c comparisons) json() measure.Group {
	to := receivers.HTTPS
	return measure.Group{
		c.limit(limit{key: "limit/https/json", kind: inputJSON, share: drains.MediumShare, to: to,
			setup: limitSetup{Protocol: "https", Batch: 1, Connections: 16}}),
		drains.New("https/json", drains.MediumShare, to, drains.Target{Type: "https", Format: https.JSON}),
		c.peer(peer{key: "rsyslog/https/json", program: rsyslogWith("omhttp.so"), kind: inputJSON, share: drains.MediumShare, to: to}),
		c.peer(peer{key: "syslog-ng/https/json", program: syslogNGWith("libhttp.so"), config: "syslog-ng-https-json.conf",
			kind: inputJSON, share: drains.MediumShare, to: to}),
		c.peer(peer{key: "telegraf/https/json", program: new(telegraf), config: "telegraf-https-json.conf",
			kind: inputJSON, share: drains.SlowerShare / 2, stream: true, to: to}),
		&peer{key: "redpanda-connect/https/json", program: absent{noConnect}},
		&peer{key: "fluent-bit/https/json", program: absent{"it sends one record a request only with a map of headers in each record"}},
	}
}

func (c comparisons) syslog() measure.Group {
	to := receivers.Syslog
	return measure.Group{
		c.limit(limit{key: "limit/syslog", kind: inputSyslog, share: drains.FastShare, to: to, setup: limitSetup{Protocol: "syslog"}}),
		drains.New("syslog", drains.FastShare, to, drains.Target{Type: "syslog"}),
		c.peer(peer{key: "rsyslog/syslog", program: rsyslogWith("lmnsd_ossl.so"), config: "rsyslog-syslog.conf",
			kind: inputSyslog, share: drains.FastShare, to: to}),
		c.peer(peer{key: "syslog-ng/syslog", program: syslogNGWith("libafsocket.so"), config: "syslog-ng-syslog.conf",
			kind: inputSyslog, share: drains.FastShare, to: to}),
		c.peer(peer{key: "telegraf/syslog", program: new(telegraf), config: "telegraf-syslog.conf",
			kind: inputSyslog, share: drains.SlowShare, stream: true, to: to}),
		&peer{key: "redpanda-connect/syslog", program: absent{noConnect}},
		&peer{key: "fluent-bit/syslog", program: absent{"it has no octet counting"}},
	}
}

func (c comparisons) elasticsearch() measure.Group {
	return measure.Group{
		c.limit(limit{key: "limit/elasticsearch", kind: inputBulk, share: drains.MediumShare, node: c.node,
			setup: limitSetup{Protocol: "elasticsearch", Batch: drains.BatchRecords, Connections: 4}}),
		drains.NewElasticsearch(drains.MediumShare, c.node),
		c.peer(peer{key: "rsyslog/elasticsearch", program: rsyslogWith("omelasticsearch.so"), config: "rsyslog-elasticsearch.conf",
			kind: inputBulk, share: drains.MediumShare, node: c.node}),
		c.peer(peer{key: "syslog-ng/elasticsearch", program: syslogNGWith("libhttp.so"), config: "syslog-ng-elasticsearch.conf",
			kind: inputBulk, share: drains.MediumShare, node: c.node}),
		// Telegraf adds the name of its measurement to the names of fields.
		c.peer(peer{key: "telegraf/elasticsearch", program: new(telegraf), config: "telegraf-elasticsearch.conf",
			kind: inputJSON, share: drains.SlowerShare, stream: true, node: c.node, prefix: "nats_consumer."}),
		&peer{key: "redpanda-connect/elasticsearch", program: absent{noConnect}},
		c.peer(peer{key: "fluent-bit/elasticsearch", program: new(fluentBit), config: "fluent-bit-elasticsearch.yaml",
			kind: inputJSON, share: drains.SlowerShare, node: c.node}),
	}
}

func (c comparisons) jetStream() measure.Group {
	return measure.Group{
		&jetStreamLimit{key: "limit/jetstream/lines", share: drains.FastShare, inputs: c.inputs},
		&jetStreamLimit{key: "limit/jetstream/segments", share: drains.FastShare, inputs: c.inputs, segments: true},
	}
}
