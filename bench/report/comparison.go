package report

import (
	"slices"

	"github.com/ttydrain/ttydrain/bench/measure"
)

// A comparison compares the limit of a receiver, ttydrain, and its peers.
type comparison struct {
	// protocol is the name of ttydrain's subject. The names of the limit and the peers are a prefix, a
	// slash and the protocol.
	protocol, title string
	// bars are the goals of ttydrain.
	bars []goal
}

// A goal is a bar that ttydrain should reach: a ratio to another subject in the same rounds.
type goal struct {
	metric string
	to     against
	min    float64 // minimum ratio
	max    float64 // maximum ratio if min is 0
}

// against is the subject that ttydrain is compared with.
type against uint8

const (
	theLimit against = iota
	fastestPeer
	thriftiestPeer // with the least CPU time
)

// comparisons are the comparisons, in the order of the tables.
var comparisons = []comparison{
	{"https/ndjson", "HTTPS, NDJSON", []goal{{measure.RecordsPerSecond, fastestPeer, 2, 0}, {measure.RecordsPerSecond, theLimit, 0.8, 0}, {measure.SecondsPerMillion, thriftiestPeer, 0, 0.5}}},
	{"https/json", "HTTPS, one object a request", []goal{{measure.RecordsPerSecond, theLimit, 0.9, 0}, {measure.SecondsPerMillion, thriftiestPeer, 0, 0.5}}},
	{"syslog", "syslog over TLS, octet counting", []goal{{measure.RecordsPerSecond, fastestPeer, 2, 0}, {measure.RecordsPerSecond, theLimit, 0.8, 0}, {measure.SecondsPerMillion, thriftiestPeer, 0, 0.5}}},
	{"elasticsearch", "Elasticsearch, each record once", []goal{{measure.RecordsPerSecond, theLimit, 0.9, 0}, {measure.SecondsPerMillion, thriftiestPeer, 0, 0.5}}},
	{"jetstream", "JetStream, read and thrown away", nil},
}

// limit returns the name of the limit.
func (c comparison) limit() string { return "limit/" + c.protocol }

// IsCompared reports whether a subject belongs to the comparison named by "compare/" and a
// protocol.
func IsCompared(subject, chosen string) bool {
	return slices.ContainsFunc(comparisons, func(c comparison) bool {
		return chosen == "compare/"+c.protocol && slices.Contains(c.subjects(), subject)
	})
}

// ComparedSubjects returns the names of all subjects that are compared.
func ComparedSubjects() (all []string) {
	for _, c := range comparisons {
		all = append(all, c.subjects()...)
	}
	return all
}

// senders are the peers, with the prefixes of their subjects' names, and their titles.
var senders = []struct{ name, title string }{
	{"rsyslog", "rsyslog, from a file"}, {"syslog-ng", "syslog-ng, from a file"}, {"telegraf", "Telegraf, from JetStream"},
	{"redpanda-connect", "Redpanda Connect"}, {"fluent-bit", "Fluent Bit, from a file"},
}

// peers returns the names of the peers' subjects.
func (c comparison) peers() (all []string) {
	if c.protocol == "jetstream" {
		return nil
	}
	for _, s := range senders {
		all = append(all, s.name+"/"+c.protocol)
	}
	return all
}

// subjects returns the names of the compared subjects, in the order of the table.
func (c comparison) subjects() []string {
	if c.protocol == "jetstream" {
		return []string{"limit/jetstream/lines", "limit/jetstream/segments"}
	}
	return append([]string{c.limit(), c.protocol}, c.peers()...)
}

// titleOf returns the title of a subject in the table.
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
