package main

import (
	"slices"

	"github.com/ttydrain/ttydrain/sinks/https"
)

// A comparison is of the limit of a receiver, ttydrain, and its peers, which are measured in turns.
type comparison struct {
	// protocol is the name of ttydrain's subject. Those of the limit and the peers have theirs and a
	// slash in front of it.
	protocol, title string
	// bars are those that ttydrain is to reach.
	bars []goal
}

// A goal is a bar that ttydrain is to reach: a ratio to something that was measured in the same
// round.
type goal struct {
	metric string
	to     against
	least  float64 // the ratio is at least that
	most   float64 // or, where least is 0, at most that
}

// against is what something is compared with.
type against uint8

const (
	theLimit against = iota
	fastestPeer
	thriftiestPeer // the one that uses the least processor time
)

var comparisons = []comparison{
	{"https/ndjson", "HTTPS, NDJSON", []goal{{recordsPerSecond, fastestPeer, 2, 0}, {recordsPerSecond, theLimit, 0.8, 0}, {secondsPerMillion, thriftiestPeer, 0, 0.5}}},
	{"https/json", "HTTPS, one object a request", []goal{{recordsPerSecond, theLimit, 0.9, 0}, {secondsPerMillion, thriftiestPeer, 0, 0.5}}},
	{"syslog", "syslog over TLS, octet counting", []goal{{recordsPerSecond, fastestPeer, 2, 0}, {recordsPerSecond, theLimit, 0.8, 0}, {secondsPerMillion, thriftiestPeer, 0, 0.5}}},
	{"elasticsearch", "Elasticsearch, each record once", []goal{{recordsPerSecond, theLimit, 0.9, 0}, {secondsPerMillion, thriftiestPeer, 0, 0.5}}},
	{"jetstream", "JetStream, read and thrown away", nil},
}

// limitOf is the name of the limit.
func (c comparison) limit() string { return "limit/" + c.protocol }

// isCompared says whether a subject is one of those that "compare/" and a protocol choose.
func isCompared(subject, chosen string) bool {
	return slices.ContainsFunc(comparisons, func(c comparison) bool {
		return chosen == "compare/"+c.protocol && slices.Contains(c.subjects(), subject)
	})
}

// isOfComparison says whether a subject is in the tables of comparisons.
func isOfComparison(subject string) bool {
	return slices.ContainsFunc(comparisons, func(c comparison) bool { return slices.Contains(c.subjects(), subject) })
}

// senders are the peers by name, as they are in subjects' names, with their titles.
var senders = []struct{ name, title string }{
	{"rsyslog", "rsyslog, from a file"}, {"syslog-ng", "syslog-ng, from a file"}, {"telegraf", "Telegraf, from JetStream"},
	{"redpanda-connect", "Redpanda Connect"}, {"fluent-bit", "Fluent Bit, from a file"},
}

// peers are the names of the peers' subjects.
func (c comparison) peers() (all []string) {
	if c.protocol == "jetstream" {
		return nil
	}
	for _, s := range senders {
		all = append(all, s.name+"/"+c.protocol)
	}
	return all
}

// subjects are all that are compared, in the order of the table.
func (c comparison) subjects() []string {
	if c.protocol == "jetstream" {
		return []string{"limit/jetstream/lines", "limit/jetstream/segments"}
	}
	return append([]string{c.limit(), c.protocol}, c.peers()...)
}

// titleOf is what the table calls a subject.
func (c comparison) titleOf(subject string) string {
	switch subject {
	case c.limit():
		return "*the limit*"
	case c.protocol:
		return "**ttydrain**"
	case "limit/jetstream/lines":
		return "*a message a line*"
	case "limit/jetstream/segments":
		return "*segments of ttydrain*"
	}
	for _, s := range senders {
		if subject == s.name+"/"+c.protocol {
			return s.title
		}
	}
	return subject
}

// Slow senders get less, so that they take about as long as the others.
const (
	fast   = 1
	medium = 0.5 // with less, what starting takes of Elasticsearch's processor time is a third, and of the time of one object a request a tenth
	slow   = 0.2
	slower = 0.1
)

// comparisonGroups are the groups of the comparisons, in their order.
func comparisonGroups() []group {
	in, n := new(inputs), new(node)
	large := limitSetup{Protocol: "https", Batch: batchRecords, Connections: 4}
	one := limitSetup{Protocol: "https", Batch: 1, Connections: 16}
	bulk := limitSetup{Protocol: "elasticsearch", Batch: batchRecords, Connections: 4}
	imfile := []string{"imfile.so"}
	ng := func(key, config, kind string, share float64, to receiverSetup, node *node, modules ...string) *peer {
		return &peer{key: "syslog-ng/" + key, program: &syslogNG{modules: append(modules, "libaffile.so")}, config: config, kind: kind, share: share, inputs: in, to: to, node: node}
	}
	tg := func(key, config, kind string, share float64, to receiverSetup, node *node) *peer {
		return &peer{key: "telegraf/" + key, program: new(telegraf), config: config, kind: kind, share: share, inputs: in, stream: true, to: to, node: node}
	}
	rs := func(key, config, kind string, share float64, to receiverSetup, node *node, module string) *peer {
		return &peer{key: "rsyslog/" + key, program: &rsyslog{modules: append(slices.Clip(imfile), module)}, config: config, kind: kind, share: share, inputs: in, to: to, node: node}
	}
	drainTo := func(key string, share float64, to receiverSetup, d drainSetup) *drain {
		return &drain{key: key, share: share, receiving: to, setup: pipelineSetup{Drain: d}}
	}
	tgElasticsearch := tg("elasticsearch", "telegraf-elasticsearch.conf", inputJSON, slower, receiverSetup{}, n)
	tgElasticsearch.prefix = "nats_consumer." // the name of what it measures
	groups := []group{
		{
			&limit{key: "limit/https/ndjson", kind: inputJSON, share: fast, setup: large, inputs: in, to: httpReceiver},
			drainTo("https/ndjson", fast, httpReceiver, drainSetup{Type: "https", Format: https.NDJSON}),
			rs("https/ndjson", "", inputJSON, fast, httpReceiver, nil, "omhttp.so"),
			ng("https/ndjson", "syslog-ng-https-ndjson.conf", inputJSON, fast, httpReceiver, nil, "libhttp.so"),
			tg("https/ndjson", "telegraf-https-ndjson.conf", inputJSON, slow, httpReceiver, nil),
		},
		{
			&limit{key: "limit/https/json", kind: inputJSON, share: medium, setup: one, inputs: in, to: httpReceiver},
			drainTo("https/json", medium, httpReceiver, drainSetup{Type: "https", Format: https.JSON}),
			rs("https/json", "", inputJSON, medium, httpReceiver, nil, "omhttp.so"),
			ng("https/json", "syslog-ng-https-json.conf", inputJSON, medium, httpReceiver, nil, "libhttp.so"),
			tg("https/json", "telegraf-https-json.conf", inputJSON, slower/2, httpReceiver, nil),
		},
		{
			&limit{key: "limit/syslog", kind: inputSyslog, share: fast, setup: limitSetup{Protocol: "syslog"}, inputs: in, to: syslogReceiver},
			drainTo("syslog", fast, syslogReceiver, drainSetup{Type: "syslog"}),
			rs("syslog", "rsyslog-syslog.conf", inputSyslog, fast, syslogReceiver, nil, "lmnsd_ossl.so"),
			ng("syslog", "syslog-ng-syslog.conf", inputSyslog, fast, syslogReceiver, nil, "libafsocket.so"),
			tg("syslog", "telegraf-syslog.conf", inputSyslog, slow, syslogReceiver, nil),
		},
		{
			&limit{key: "limit/elasticsearch", kind: inputBulk, share: medium, setup: bulk, inputs: in, node: n},
			&elasticsearchDrain{share: medium, node: n},
			rs("elasticsearch", "rsyslog-elasticsearch.conf", inputBulk, medium, receiverSetup{}, n, "omelasticsearch.so"),
			ng("elasticsearch", "syslog-ng-elasticsearch.conf", inputBulk, medium, receiverSetup{}, n, "libhttp.so"),
			tgElasticsearch,
		},
		{
			&jetStreamLimit{key: "limit/jetstream/lines", share: fast, inputs: in},
			&jetStreamLimit{key: "limit/jetstream/segments", segments: true, share: fast, inputs: in},
		},
	}
	fluent := func(protocol, config string, share float64, to receiverSetup, node *node) *peer {
		return &peer{key: "fluent-bit/" + protocol, program: new(fluentBit), config: config, kind: inputJSON, share: share, inputs: in, to: to, node: node}
	}
	none := func(peerName, protocol, why string) *peer {
		return &peer{key: peerName + "/" + protocol, program: absent{why}}
	}
	const noConnect = "it is in no package of Debian, and no configuration of it was tried"
	groups[0] = append(groups[0], none("redpanda-connect", "https/ndjson", noConnect), fluent("https/ndjson", "fluent-bit-https-ndjson.yaml", fast, httpReceiver, nil))
	groups[1] = append(groups[1], none("redpanda-connect", "https/json", noConnect), none("fluent-bit", "https/json", "it sends one record a request only with a map of headers in each record"))
	groups[2] = append(groups[2], none("redpanda-connect", "syslog", noConnect), none("fluent-bit", "syslog", "it has no octet counting"))
	groups[3] = append(groups[3], none("redpanda-connect", "elasticsearch", noConnect), fluent("elasticsearch", "fluent-bit-elasticsearch.yaml", slower, receiverSetup{}, n))
	return groups
}
