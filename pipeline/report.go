package pipeline

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

// testTimeout bounds a test. It is shorter than any client of the admin address waits.
const testTimeout = 100 * time.Second

// A DrainReport is what a test of a drain found out.
type DrainReport struct {
	Drain string `json:"drain"`
	// OK says that the drain took the record or, where none was to be written, that it can be reached.
	OK bool `json:"ok"`
	// Operation is the ID of the record that was to be written; "" for none.
	Operation string       `json:"operation_id,omitempty"`
	Steps     []probe.Step `json:"steps"`
	// Notes are sentences on what keeps session logs from a drain that can be reached.
	Notes []string `json:"notes,omitempty"`
}

// Test goes the way to a drain by a sink of its own, as the workers' are, and writes a record to it
// that says that it is a test and, in askedBy's own words, who wanted it. The operation of that
// record has an ID that no session has: see [schema.IsTest]. An error is about the test itself, and
// not about the drain. A drain that is paused gets the record all the same.
func (o *Operator) Test(ctx context.Context, name, askedBy string) (*DrainReport, error) {
	drain, err := o.find(name)
	if err != nil {
		return nil, err
	}
	control, err := o.Bus.DrainControl(ctx, name)
	if err != nil {
		return nil, err
	}
	entry := testRecord(name, askedBy, time.Now())
	report := drain.Try(ctx, &entry)
	if control.Paused {
		report.Notes = append([]string{"the drain is paused: session logs wait in the stream until `ttydrain drains resume " + name + "`"}, report.Notes...)
	}
	return report, nil
}

// Try goes the way to the drain, and writes the record to it unless that is nil.
func (d *Drain) Try(ctx context.Context, record *sinks.Entry) *DrainReport {
	report := &DrainReport{Drain: d.Name, Notes: d.notes()}
	if record != nil {
		report.Operation = record.Operation.ID
	}
	ctx, cancel := context.WithTimeoutCause(ctx, testTimeout, errors.New("it takes longer than "+testTimeout.String()))
	defer cancel()
	sink, err := d.Open()
	if err != nil {
		report.Steps = probe.SettingsFailed(err)
		return report
	}
	report.Steps, report.OK = sinks.Try(ctx, sink, record)
	if err := sink.Close(); err != nil {
		report.Notes = append(report.Notes, "the connection did not end in order: "+err.Error())
	}
	return report
}

// notes say which session logs the drain does not get.
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

// probeRecord is a record by which the router finds out whether a drain that refuses a record of an
// operation accepts anything: all that it has in common with the refused one is what each record of
// the operation has, or nothing where like is nil.
func probeRecord(drain string, like *schema.Operation, now time.Time) sinks.Entry {
	entry := testRecord(drain, "", now)
	if like != nil {
		op := *like
		op.ID, op.Started = entry.Operation.ID, entry.Operation.Started
		entry.Operation = &op
	}
	text := "This is a probe of the drain " + drain + " by ttydrain, and of no session: the drain refused a record, and this one finds out whether it accepts others."
	entry.Record.Log, entry.Record.Text = []byte(text+"\n"), []byte(text)
	return entry
}

// testRecord is the record of a test, alone in its operation.
func testRecord(drain, askedBy string, now time.Time) sinks.Entry {
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
