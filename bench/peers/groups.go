package peers

import (
	"slices"

	"github.com/ttydrain/ttydrain/bench/drains"
	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/receivers"
	"github.com/ttydrain/ttydrain/sinks/https"
)

// Groups returns a group for each comparison: a limit, ttydrain, and its peers.
func Groups() []measure.Group {
	in, n := new(inputs), new(receivers.Node)
	large := limitSetup{Protocol: "https", Batch: drains.BatchRecords, Connections: 4}
	one := limitSetup{Protocol: "https", Batch: 1, Connections: 16}
	bulk := limitSetup{Protocol: "elasticsearch", Batch: drains.BatchRecords, Connections: 4}
	imfile := []string{"imfile.so"}
	ng := func(key, config, kind string, share float64, to receivers.Setup, node *receivers.Node, modules ...string) *peer {
		return &peer{key: "syslog-ng/" + key, program: &syslogNG{modules: append(modules, "libaffile.so")}, config: config, kind: kind, share: share, inputs: in, to: to, node: node}
	}
	tg := func(key, config, kind string, share float64, to receivers.Setup, node *receivers.Node) *peer {
		return &peer{key: "telegraf/" + key, program: new(telegraf), config: config, kind: kind, share: share, inputs: in, stream: true, to: to, node: node}
	}
	rs := func(key, config, kind string, share float64, to receivers.Setup, node *receivers.Node, module string) *peer {
		return &peer{key: "rsyslog/" + key, program: &rsyslog{modules: append(slices.Clip(imfile), module)}, config: config, kind: kind, share: share, inputs: in, to: to, node: node}
	}
	tgElasticsearch := tg("elasticsearch", "telegraf-elasticsearch.conf", inputJSON, drains.SlowerShare, receivers.Setup{}, n)
	tgElasticsearch.prefix = "nats_consumer." // Telegraf's name for its measurements
	groups := []measure.Group{
		{
			&limit{key: "limit/https/ndjson", kind: inputJSON, share: drains.FastShare, setup: large, inputs: in, to: receivers.HTTPS},
			drains.New("https/ndjson", drains.FastShare, receivers.HTTPS, drains.Target{Type: "https", Format: https.NDJSON}),
			rs("https/ndjson", "", inputJSON, drains.FastShare, receivers.HTTPS, nil, "omhttp.so"),
			ng("https/ndjson", "syslog-ng-https-ndjson.conf", inputJSON, drains.FastShare, receivers.HTTPS, nil, "libhttp.so"),
			tg("https/ndjson", "telegraf-https-ndjson.conf", inputJSON, drains.SlowShare, receivers.HTTPS, nil),
		},
		{
			&limit{key: "limit/https/json", kind: inputJSON, share: drains.MediumShare, setup: one, inputs: in, to: receivers.HTTPS},
			drains.New("https/json", drains.MediumShare, receivers.HTTPS, drains.Target{Type: "https", Format: https.JSON}),
			rs("https/json", "", inputJSON, drains.MediumShare, receivers.HTTPS, nil, "omhttp.so"),
			ng("https/json", "syslog-ng-https-json.conf", inputJSON, drains.MediumShare, receivers.HTTPS, nil, "libhttp.so"),
			tg("https/json", "telegraf-https-json.conf", inputJSON, drains.SlowerShare/2, receivers.HTTPS, nil),
		},
		{
			&limit{key: "limit/syslog", kind: inputSyslog, share: drains.FastShare, setup: limitSetup{Protocol: "syslog"}, inputs: in, to: receivers.Syslog},
			drains.New("syslog", drains.FastShare, receivers.Syslog, drains.Target{Type: "syslog"}),
			rs("syslog", "rsyslog-syslog.conf", inputSyslog, drains.FastShare, receivers.Syslog, nil, "lmnsd_ossl.so"),
			ng("syslog", "syslog-ng-syslog.conf", inputSyslog, drains.FastShare, receivers.Syslog, nil, "libafsocket.so"),
			tg("syslog", "telegraf-syslog.conf", inputSyslog, drains.SlowShare, receivers.Syslog, nil),
		},
		{
			&limit{key: "limit/elasticsearch", kind: inputBulk, share: drains.MediumShare, setup: bulk, inputs: in, node: n},
			drains.NewElasticsearch(drains.MediumShare, n),
			rs("elasticsearch", "rsyslog-elasticsearch.conf", inputBulk, drains.MediumShare, receivers.Setup{}, n, "omelasticsearch.so"),
			ng("elasticsearch", "syslog-ng-elasticsearch.conf", inputBulk, drains.MediumShare, receivers.Setup{}, n, "libhttp.so"),
			tgElasticsearch,
		},
		{
			&jetStreamLimit{key: "limit/jetstream/lines", share: drains.FastShare, inputs: in},
			&jetStreamLimit{key: "limit/jetstream/segments", segments: true, share: drains.FastShare, inputs: in},
		},
	}
	fluent := func(protocol, config string, share float64, to receivers.Setup, node *receivers.Node) *peer {
		return &peer{key: "fluent-bit/" + protocol, program: new(fluentBit), config: config, kind: inputJSON, share: share, inputs: in, to: to, node: node}
	}
	none := func(peerName, protocol, why string) *peer {
		return &peer{key: peerName + "/" + protocol, program: absent{why}}
	}
	const noConnect = "it is in no package of Debian, and no configuration of it was tried"
	groups[0] = append(groups[0], none("redpanda-connect", "https/ndjson", noConnect), fluent("https/ndjson", "fluent-bit-https-ndjson.yaml", drains.FastShare, receivers.HTTPS, nil))
	groups[1] = append(groups[1], none("redpanda-connect", "https/json", noConnect), none("fluent-bit", "https/json", "it sends one record a request only with a map of headers in each record"))
	groups[2] = append(groups[2], none("redpanda-connect", "syslog", noConnect), none("fluent-bit", "syslog", "it has no octet counting"))
	groups[3] = append(groups[3], none("redpanda-connect", "elasticsearch", noConnect), fluent("elasticsearch", "fluent-bit-elasticsearch.yaml", drains.SlowerShare, receivers.Setup{}, n))
	return groups
}
