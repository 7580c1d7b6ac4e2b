package report

import (
	"slices"

	"github.com/ttydrain/ttydrain/bench/measure"
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
	{"https/ndjson", "HTTPS, NDJSON", []goal{{measure.RecordsPerSecond, fastestPeer, 2, 0}, {measure.RecordsPerSecond, theLimit, 0.8, 0}, {measure.SecondsPerMillion, thriftiestPeer, 0, 0.5}}},
	{"https/json", "HTTPS, one object a request", []goal{{measure.RecordsPerSecond, theLimit, 0.9, 0}, {measure.SecondsPerMillion, thriftiestPeer, 0, 0.5}}},
	{"syslog", "syslog over TLS, octet counting", []goal{{measure.RecordsPerSecond, fastestPeer, 2, 0}, {measure.RecordsPerSecond, theLimit, 0.8, 0}, {measure.SecondsPerMillion, thriftiestPeer, 0, 0.5}}},
	{"elasticsearch", "Elasticsearch, each record once", []goal{{measure.RecordsPerSecond, theLimit, 0.9, 0}, {measure.SecondsPerMillion, thriftiestPeer, 0, 0.5}}},
	{"jetstream", "JetStream, read and thrown away", nil},
}

// limitOf is the name of the limit.
func (c comparison) limit() string { return "limit/" + c.protocol }

// isCompared says whether a subject is one of those that "compare/" and a protocol choose.
func IsCompared(subject, chosen string) bool {
	return slices.ContainsFunc(comparisons, func(c comparison) bool {
		return chosen == "compare/"+c.protocol && slices.Contains(c.subjects(), subject)
	})
}

// comparedSubjects returns the names of all subjects that are compared.
func ComparedSubjects() (all []string) {
	for _, c := range comparisons {
		all = append(all, c.subjects()...)
	}
	return all
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
