package drain

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/probe"
)

// testTimeout bounds a test. It is shorter than the timeout of any client of the admin API.
const testTimeout = 100 * time.Second

// A Report is the result of a test of a drain.
type Report struct {
	Drain string `json:"drain"`
	// OK means that the drain accepted the record or, without a record, that it is reachable.
	OK bool `json:"ok"`
	// Operation is the ID of the record that was to be written; "" for none.
	Operation string       `json:"operation_id,omitempty"`
	Steps     []probe.Step `json:"steps"`
	// Notes are sentences about what keeps session logs from a drain that is reachable.
	Notes []string `json:"notes,omitempty"`
}

// Test tests the connection to the drain, step by step, with a sink of its own. It writes the
// record unless that is nil: see [TestRecord].
func (d *Drain) Test(ctx context.Context, record *sinks.Entry) *Report {
	report := &Report{Drain: d.Name, Notes: d.notes()}
	if record != nil {
		report.Operation = record.Operation.ID
	}
	ctx, cancel := context.WithTimeoutCause(ctx, testTimeout, errors.New("the test took longer than "+testTimeout.String()))
	defer cancel()
	sink, err := d.Open()
	if err != nil {
		report.Steps = probe.SettingsFailed(err)
		return report
	}
	report.Steps, report.OK = sinks.Try(ctx, sink, record)
	if err := sink.Close(); err != nil {
		report.Notes = append(report.Notes, "close the connection: "+err.Error())
	}
	return report
}

// notes returns which session logs the drain does not receive.
func (d *Drain) notes() []string {
	var notes []string
	if len(d.Match) > 0 {
		var of []string
		for _, m := range d.Match {
			switch {
			case m.App == "" && m.Stack == "":
				of = nil
			case m.App == "":
				of = append(of, "stack "+m.Stack)
			case m.Stack == "":
				of = append(of, "app "+m.App)
			default:
				of = append(of, "app "+m.App+" of stack "+m.Stack)
			}
			if of == nil {
				break
			}
		}
		if of != nil {
			notes = append(notes, "match lets only these session logs through: "+strings.Join(of, ", "))
		}
	}
	if !d.PHI {
		notes = append(notes, "the drain has no agreements that cover protected health information: it gets no session logs of stacks with phi: true")
	}
	return notes
}

// ProbeRecord returns a record that shows whether a drain that refused a record of an operation
// accepts any others: like that record, it has what all records of the operation have in common.
// With like nil it has nothing in common with it.
func ProbeRecord(drain string, like *schema.Operation, now time.Time) sinks.Entry {
	entry := TestRecord(drain, "", now)
	if like != nil {
		op := *like
		op.ID, op.Started = entry.Operation.ID, entry.Operation.Started
		entry.Operation = &op
	}
	text := "This is a probe of the drain " + drain + " by ttydrain, and of no session: the drain refused a record, and this one finds out whether it accepts others."
	entry.Record.Log, entry.Record.Text = []byte(text+"\n"), []byte(text)
	return entry
}

// TestRecord returns a record for a test that askedBy, in their own words, asked for. Its operation
// has an ID that no session has: see [schema.IsTest].
func TestRecord(drain, askedBy string, now time.Time) sinks.Entry {
	const longest = 100
	askedBy = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || schema.IsHidden(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(askedBy, ""))
	if runes := []rune(askedBy); len(runes) > longest {
		askedBy = string(runes[:longest])
	}
	if askedBy == "" {
		askedBy = "an operator"
	}
	text := fmt.Sprintf("This is a test of the drain %s by ttydrain, and of no session. It was asked for by %s.", drain, askedBy)
	return sinks.Entry{
		Operation: &schema.Operation{
			ID: schema.TestPrefix + bus.NextRewind(0).ID, App: "ttydrain", Service: "ttydrain", Layer: "app", Started: now.UTC(),
		},
		Record: &schema.Record{
			Event: schema.EventOutput, Sequence: 1, Time: now.UnixNano(), Log: []byte(text + "\n"), Text: []byte(text),
		},
	}
}
