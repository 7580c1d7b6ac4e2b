package audit

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/replay/replaytest"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// A unit is a record in a copy as the values of its fields, in their order.
type unit struct {
	json   bool
	fields []unitField
}

// A unitField is the value of a field: JSON, or, of a syslog message, the text without escapes.
type unitField struct{ name, value string }

// Fields of a syslog message that are not parameters, by the names of the record's fields.
const (
	headTime, headHost, headApp, headID, headEvent = "time", "host", "app", "PROCID", "event"
	messageText, messageID                         = "text", "MSG operation_id"
	metaSequence                                   = "sequenceId"
	paramEvent                                     = "parameter event"
)

var (
	syslogMessage = regexp.MustCompile(`(?s)^(<\d+>1) (\S+) (\S+) (\S+) (\S+) (\S+) \[session@32473((?: [a-z0-9_]+="(?:[^"\\\]]|\\.)*")*)\]\[meta sequenceId="(\d+)"\] (?:tok3n )?operation_id=(\S+) (.*)$`)
	syslogParam   = regexp.MustCompile(`(?s) ([a-z0-9_]+)="((?:[^"\\\]]|\\.)*)"`)
	escaped       = strings.NewReplacer(`"`, `\"`, `\`, `\\`, `]`, `\]`)
	unescaped     = strings.NewReplacer(`\"`, `"`, `\\`, `\`, `\]`, `]`)
)

func parseUnit(t *testing.T, isJSON bool, data []byte) unit {
	t.Helper()
	u := unit{json: isJSON}
	if isJSON {
		d := json.NewDecoder(bytes.NewReader(data))
		if _, err := d.Token(); err != nil {
			t.Fatal(err)
		}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				t.Fatal(err)
			}
			var value json.RawMessage
			if err := d.Decode(&value); err != nil {
				t.Fatal(err)
			}
			u.fields = append(u.fields, unitField{name.(string), string(value)})
		}
		return u
	}
	m := syslogMessage.FindSubmatch(data)
	if m == nil {
		t.Fatalf("not a message: %s", data)
	}
	for i, name := range []string{"PRI", headTime, headHost, headApp, headID, headEvent} {
		u.fields = append(u.fields, unitField{name, string(m[i+1])})
	}
	for _, p := range syslogParam.FindAllSubmatch(m[7], -1) {
		name := string(p[1])
		if name == headEvent { // once more, as a parameter
			name = paramEvent
		}
		u.fields = append(u.fields, unitField{name, unescaped.Replace(string(p[2]))})
	}
	u.fields = append(u.fields, unitField{metaSequence, string(m[8])}, unitField{messageID, string(m[9])}, unitField{messageText, string(m[10])})
	return u
}

func (u unit) bytes() []byte {
	if u.json {
		var fields []string
		for _, f := range u.fields {
			name, _ := json.Marshal(f.name) // a string never fails
			fields = append(fields, string(name)+":"+f.value)
		}
		return []byte("{" + strings.Join(fields, ",") + "}")
	}
	var head, params []string
	var sequence, id, text string
	for i, f := range u.fields {
		switch {
		case i < 6:
			head = append(head, f.value)
		case f.name == metaSequence:
			sequence = f.value
		case f.name == messageID:
			id = f.value
		case f.name == messageText:
			text = f.value
		default:
			params = append(params, fmt.Sprintf(` %s="%s"`, strings.TrimPrefix(f.name, "parameter "), escaped.Replace(f.value)))
		}
	}
	return fmt.Appendf(nil, `%s [session@32473%s][meta sequenceId="%s"] operation_id=%s %s`, strings.Join(head, " "), strings.Join(params, ""), sequence, id, text)
}

func (u unit) get(name string) (value string, ok bool) {
	i := slices.IndexFunc(u.fields, func(f unitField) bool { return f.name == name })
	if i < 0 {
		return "", false
	}
	return u.fields[i].value, true
}

// with returns a unit with another value of a field; "" removes a field of JSON or a parameter, and
// is the NILVALUE of a header.
func (u unit) with(name, value string) unit {
	fields := slices.Clone(u.fields)
	i := slices.IndexFunc(fields, func(f unitField) bool { return f.name == name })
	switch {
	case value != "":
		fields[i].value = value
	case !u.json && (i < 6 || slices.Contains([]string{metaSequence, messageID, messageText}, name)):
		fields[i].value = map[bool]string{true: "-"}[i < 6]
	default:
		fields = slices.Delete(fields, i, i+1)
	}
	return unit{u.json, fields}
}

// twice returns units with the field a second time with another value, before or after the first;
// none if a field of that kind cannot occur twice.
func (u unit) twice(name, value string) []unit {
	i := slices.IndexFunc(u.fields, func(f unitField) bool { return f.name == name })
	if !u.json && (i < 6 || slices.Contains([]string{metaSequence, messageID, messageText}, name)) {
		return nil
	}
	return []unit{{u.json, slices.Insert(slices.Clone(u.fields), i, unitField{name, value})}, {u.json, slices.Insert(slices.Clone(u.fields), i+1, unitField{name, value})}}
}

// altered returns another plausible value of a field.
func altered(isJSON bool, name, value string) string {
	if isJSON && value[0] != '"' {
		switch value {
		case "true":
			return "false"
		case "false":
			return "true"
		}
		n, _ := strconv.Atoi(value)
		return strconv.Itoa(n + 1)
	}
	text := value
	if isJSON {
		if json.Unmarshal([]byte(value), &text) != nil {
			return `"x"`
		}
	}
	switch at, err := time.Parse(time.RFC3339Nano, text); {
	case err == nil:
		decimals := len(text) - len("2006-01-02T15:04:05.Z")
		text = at.Add(time.Hour + time.Microsecond).Format("2006-01-02T15:04:05." + strings.Repeat("0", decimals) + "Z")
	case strings.HasSuffix(name, "event"):
		text = map[string]string{"output": "input", "input": "output", "start": "resize", "resize": "gap", "gap": "resize", "end": "gap", "transfer": "gap", "checkpoint": "resize"}[text]
	case text == "stdout", text == "stderr":
		text = map[string]string{"stdout": "stderr", "stderr": "stdout"}[text]
	case text == "true", text == "false":
		text = map[string]string{"true": "false", "false": "true"}[text]
	case strings.HasSuffix(name, "_base64"):
		raw, _ := base64.StdEncoding.DecodeString(text)
		raw[0] ^= 1
		text = base64.StdEncoding.EncodeToString(raw)
	case text == "":
		text = "added"
	default:
		b := []byte(text)
		at := len(b) / 2
		for i := range b { // the first letter or digit from the middle on
			if c := b[(at+i)%len(b)]; '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' {
				at = (at + i) % len(b)
				break
			}
		}
		if b[at] ^= 1; b[at] < ' ' || b[at] > '~' {
			b = append([]byte("x"), text...)
		}
		text = string(b)
	}
	if isJSON {
		quoted, _ := json.Marshal(text) // a string never fails
		return string(quoted)
	}
	return text
}

// tampering is the table: it changes copies of one form.
type tampering struct {
	t        *testing.T
	form     replaytest.Form
	checker  *Checker
	units    []unit // of the session
	swap     []unit // of another session
	events   []string
	baseline Result
	seen     map[string]int // cases by field
	cases    int
}

const tamperedID = "43"

func (p *tampering) audit(units []unit) map[string]Result {
	var data [][]byte
	for _, u := range units {
		data = append(data, u.bytes())
	}
	results, summary := audited(p.t, p.checker, p.form.Join(data))
	if summary.BrokenCount > 0 {
		results["unreadable"] = Result{Verdict: Damaged}
	}
	return results
}

// expect audits a copy in which a record, or with n 0 all records, were tampered with: it is found
// at its place, or the verdict does not claim what it did.
func (p *tampering) expect(name string, n uint64, units []unit) {
	p.cases++
	results := p.audit(units)
	r, ok := results[tamperedID]
	if !ok || len(r.Proven) < len(p.baseline.Proven) && r.Verdict != Damaged {
		if len(results) == 0 {
			p.t.Errorf("%s, %s: the session vanished", p.form.Name, name)
		}
		return
	}
	found := len(results) > 1
	for _, f := range r.Findings {
		known := slices.ContainsFunc(p.baseline.Findings, func(b Finding) bool { return b.Kind == f.Kind && b.First == f.First && b.What == f.What })
		if !known && (n == 0 || f.First <= n && n <= f.Last || f.First == 0) {
			found = true
		}
	}
	if !found {
		p.t.Errorf("%s, %s: not found: %s, %v, %+v", p.form.Name, name, r.Verdict, r.Proven, r.Findings)
	}
}

// run tampers with a field of the records of one event.
func (p *tampering) run(event, name string) {
	i := -1
	for j, u := range p.units {
		if _, ok := u.get(name); ok && p.events[j] == event {
			i = j
			break
		}
	}
	if i < 0 {
		return
	}
	// Without exact bytes, nothing proves their digest and their number, and nothing claims it. The
	// event as a parameter repeats the header.
	unclaimed := !p.form.Bytes && (name == "digest" || name == "offset") || name == paramEvent
	p.seen[strings.TrimPrefix(name, "parameter ")]++
	value, _ := p.units[i].get(name)
	other := altered(p.form.JSON, name, value)
	one := func(what string, changed unit) {
		units := slices.Clone(p.units)
		units[i] = changed
		p.expect(fmt.Sprintf("%s of a %s %s", name, event, what), uint64(i+1), units)
	}
	all := func(what string, change func(u unit, value string) (unit, bool)) {
		units := slices.Clone(p.units)
		changes := 0
		for j, u := range units {
			value, ok := u.get(name)
			if !ok || p.events[j] != event {
				continue
			}
			if changed, ok := change(u, value); ok {
				units[j] = changed
				changes++
			}
		}
		if changes > 0 {
			p.expect(fmt.Sprintf("%s of every %s %s", name, event, what), 0, units)
		}
	}
	for _, changed := range p.units[i].twice(name, other) {
		one("duplicated", changed)
	}
	if name == paramEvent || !unclaimed {
		one("changed", p.units[i].with(name, other))
	}
	if unclaimed {
		return
	}
	one("removed", p.units[i].with(name, ""))
	all("changed", func(u unit, value string) (unit, bool) { return u.with(name, altered(p.form.JSON, name, value)), true })
	all("removed", func(u unit, _ string) (unit, bool) { return u.with(name, ""), true })
	swapped := func(u unit, value string, j int) (unit, bool) {
		for k := range p.swap {
			from := p.swap[(j+k)%len(p.swap)]
			if other, ok := from.get(name); ok && other != "" && other != value {
				return u.with(name, other), true
			}
		}
		return u, false
	}
	if changed, ok := swapped(p.units[i], value, i); ok {
		one("swapped between sessions", changed)
	}
	j := 0
	all("swapped between sessions", func(u unit, value string) (unit, bool) { j++; return swapped(u, value, j) })
}

// everywhere tampers with a field of all records, whatever their event.
func (p *tampering) everywhere(names ...string) {
	units := slices.Clone(p.units)
	removed := slices.Clone(p.units)
	changes := 0
	for j := range units {
		for _, name := range names {
			if !p.form.Bytes && (name == "digest" || name == "offset") || name == paramEvent {
				continue
			}
			if value, ok := units[j].get(name); ok {
				units[j] = units[j].with(name, altered(p.form.JSON, name, value))
				removed[j] = removed[j].with(name, "")
				changes++
			}
		}
	}
	if changes > 0 {
		p.expect(strings.Join(names, " and ")+" of all records changed", 0, units)
		p.expect(strings.Join(names, " and ")+" of all records removed", 0, removed)
	}
}

// alter changes texts of syslog, and has the messages say that their texts had to be altered.
func (p *tampering) alter() {
	if p.form.JSON {
		return
	}
	every := slices.Clone(p.units)
	for i, u := range p.units {
		text, _ := u.get(messageText)
		changed := u.with(messageText, altered(false, messageText, text))
		changed.fields = slices.Insert(changed.fields, len(changed.fields)-3, unitField{"altered", "true"})
		one := slices.Clone(p.units)
		one[i], every[i] = changed, changed
		p.expect("the text of an altered "+p.events[i], uint64(i+1), one)
		if r := p.audit(one)[tamperedID]; p.form.Bytes && r.Verdict != Damaged { // the text is rendered from the bytes
			p.t.Errorf("%s, the text of an altered %s: %+v", p.form.Name, p.events[i], r)
		}
	}
	p.expect("the texts of altered records", 0, every)
}

// TestTampering changes, removes, duplicates and swaps between sessions every field of every event
// in every form, in one record and in all. Each is found at its place, or the verdict does not
// claim it. The fields are those of the JSON Schema, so that a new one needs no new case.
func TestTampering(t *testing.T) {
	var properties struct{ Properties map[string]any }
	if err := json.Unmarshal(schema.RecordSchema(), &properties); err != nil {
		t.Fatal(err)
	}
	fields := slices.Sorted(maps.Keys(properties.Properties))
	key := replaytest.Key(t)
	checker := &Checker{Keys: keySet(t, key)}
	cases := 0
	seen, events := make(map[string]int), make(map[string]bool)
	for _, f := range replaytest.Forms() {
		if !slices.Contains([]string{"ndjson", "elasticsearch export", "syslog", "syslog exact"}, f.Name) {
			continue
		}
		for _, terminal := range []bool{false, true} {
			// A session without a terminal has input, transfers and standard error, the other one resizes.
			options := replaytest.Options{Pieces: 14, Gap: true, Killed: true, Checkpoint: 9}
			id, other := tamperedID, "45"
			if !terminal {
				options.Input = []string{"select 1;\n", "\xff\xfe\n"}
			}
			a, b := replaytest.NewSession(t, key, id, withTerminal(options, terminal)), replaytest.NewSession(t, key, other, withTerminal(options, terminal))
			p := &tampering{t: t, form: f, checker: checker, seen: seen}
			for _, data := range f.Write(t, a.Entries()) {
				p.units = append(p.units, parseUnit(t, f.JSON, data))
			}
			for _, data := range f.Write(t, b.Entries()) {
				p.swap = append(p.swap, parseUnit(t, f.JSON, data))
			}
			for i := range a.Records {
				p.events = append(p.events, a.Records[i].Event.String())
				events[p.events[i]] = true
			}
			p.baseline = p.audit(p.units)[tamperedID]
			if p.baseline.Verdict != Incomplete || len(p.baseline.Findings) != 1 || len(p.baseline.Proven) < 5 {
				t.Fatalf("%s: %+v", f.Name, p.baseline)
			}
			names := fields
			if !f.JSON {
				names = append(slices.Clone(fields), headID, messageID, metaSequence, "text_digest", paramEvent)
			}
			for _, name := range names {
				for _, event := range schema.Events() {
					p.run(event.String(), name)
				}
				p.everywhere(name)
			}
			p.everywhere("time", "@timestamp")
			p.alter()
			cases += p.cases
		}
	}
	for _, event := range schema.Events() {
		if !events[event.String()] {
			t.Errorf("no case has the event %s", event)
		}
	}
	cases += tamperGaps(t, key, checker, fields, seen)
	for _, name := range fields {
		if seen[name] == 0 {
			t.Errorf("no case has the field %s", name)
		}
	}
	if cases < 400 {
		t.Errorf("only %d cases", cases)
	}
	t.Logf("%d cases", cases)
}

func withTerminal(o replaytest.Options, terminal bool) replaytest.Options {
	o.Terminal = terminal
	return o
}

// tamperGaps tampers with the gap record of a drain that did not get some records.
func tamperGaps(t *testing.T, key *enrich.Key, checker *Checker, fields []string, seen map[string]int) (cases int) {
	s := replaytest.NewSession(t, key, tamperedID, replaytest.Options{Pieces: 14})
	for _, uncertain := range []bool{false, true} {
		var missed schema.PendingGaps
		for i := 4; i < 9; i++ {
			missed.Add(schema.GapOf(&s.Records[i]))
		}
		missed.Gaps[0].Uncertain = uncertain
		gap := replaytest.GapEntry(t, gapKey(t, key).Sign, s.Operation, missed.Gaps[0])
		entries := s.Entries()
		entries = slices.Concat(entries[:4], []sinks.Entry{gap}, entries[9:])
		for _, f := range replaytest.Forms() {
			if !slices.Contains([]string{"ndjson", "elasticsearch export", "syslog", "syslog exact"}, f.Name) {
				continue
			}
			p := &tampering{t: t, form: f, checker: checker}
			for _, data := range f.Write(t, entries) {
				p.units = append(p.units, parseUnit(t, f.JSON, data))
			}
			p.baseline = p.audit(p.units)[tamperedID]
			if p.baseline.Verdict != Incomplete || p.baseline.Findings[0].Kind != Gap {
				t.Fatalf("%s: %+v", f.Name, p.baseline)
			}
			for _, name := range fields {
				value, ok := p.units[4].get(name)
				if !ok {
					continue
				}
				seen[name]++
				other := altered(f.JSON, name, value)
				for _, changed := range append(p.units[4].twice(name, other), p.units[4].with(name, other), p.units[4].with(name, "")) {
					units := slices.Clone(p.units)
					units[4] = changed
					p.expect(name+" of a gap of records", gap.Record.Sequence, units)
				}
			}
			cases += p.cases
		}
	}
	return cases
}
