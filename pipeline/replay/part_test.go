package replay

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/replay/replaytest"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks/syslog"
)

// TestParts checks that parts are joined in any order, mixed with those of other divisions of the
// same records, and with repeats that end before their last part.
func TestParts(t *testing.T) {
	made := replaytest.NewSession(t, replaytest.Key(t), "42", replaytest.Options{Pieces: 40, Long: true})
	entries := made.Entries()
	form := replaytest.Form{Name: "parts", Bytes: true, TextDigests: true}
	short := replaytest.Messages(t, syslog.Options{Exact: true, MaxMessageBytes: 2048}, entries)
	shorter := replaytest.Messages(t, syslog.Options{Exact: true, MaxMessageBytes: 2049, Token: strings.Repeat("t", 20)}, entries)
	whole := replaytest.Messages(t, syslog.Options{Exact: true, MaxMessageBytes: syslog.MaxMaxMessageBytes}, entries)
	unfinished := slices.DeleteFunc(slices.Clone(shorter), func(m []byte) bool { return bytes.Contains(m, []byte(` part="2/`)) })
	random := rand.New(rand.NewPCG(7, 8))
	for _, test := range []struct {
		name     string
		messages [][]byte
		repeats  int
	}{
		{"once", short, 0},
		{"twice", slices.Concat(short, short), len(entries)},
		{"in two divisions", slices.Concat(short, shorter), len(entries)},
		{"in parts and whole", slices.Concat(short, whole), len(entries)},
		{"with unfinished ones", slices.Concat(short, unfinished, unfinished), -1},
		{"whole, with unfinished ones", slices.Concat(whole, unfinished), -1},
	} {
		for _, limit := range []int{memoryLimit, 20_000} {
			messages := slices.Clone(test.messages)
			random.Shuffle(len(messages), func(i, j int) { messages[i], messages[j] = messages[j], messages[i] })
			list, summary := all(t, inMemory(bytes.Join(messages, []byte("\n"))), Selection{}, limit)
			if len(list) != 1 || len(list[0].Broken) > 0 || summary.BrokenCount > 0 || len(list[0].Records) != len(entries) {
				t.Fatalf("%s: %d sessions, %+v; %+v", test.name, len(list), summary, list[0].Broken)
			}
			compare(t, list[0], made.Records, form)
			if test.repeats >= 0 && (list[0].Repeats != test.repeats || summary.Records != len(entries)+test.repeats) {
				t.Errorf("%s: %d repeats of %d records, want %d", test.name, list[0].Repeats, summary.Records, test.repeats)
			}
		}
	}
}

// TestBrokenParts checks that a problem with a record's parts is reported once, for the record.
func TestBrokenParts(t *testing.T) {
	made := replaytest.NewSession(t, replaytest.Key(t), "42", replaytest.Options{Pieces: 40, Long: true})
	messages := replaytest.Messages(t, syslog.Options{MaxMessageBytes: 2048}, made.Entries())
	var first int // of the parts of a record of output that has at least four
	for i, m := range messages {
		if bytes.Contains(m, []byte(" output ")) && bytes.Contains(m, []byte(` part="4/`)) {
			first = i - 3
			break
		}
	}
	if first == 0 {
		t.Fatal("no record has four parts")
	}
	change := func(i int, from, to string) [][]byte {
		all := slices.Clone(messages)
		if all[i] = bytes.Replace(all[i], []byte(from), []byte(to), 1); bytes.Equal(all[i], messages[i]) {
			t.Fatalf("%q is not in %q", from, messages[i])
		}
		return all
	}
	for _, test := range []struct {
		name     string
		messages [][]byte
		want     string
	}{
		{"a part is missing", slices.Delete(slices.Clone(messages), first+1, first+2), "part 2 of "},
		{"two parts are missing", slices.Delete(slices.Clone(messages), first+1, first+3), "2 of "},
		{"the first part is missing", slices.Delete(slices.Clone(messages), first, first+1), "part 1 of "},
		{"a part is of another record", change(first+1, `sequence="`, `sequence="1`), "part 2 of "},
		{"a part is shorter", change(first+1, " part=2/", " part=2/ "), ""},
		{"an offset is another", change(first+1, `part_offset="`, `part_offset="1`), "part 1 of "},
		{"the total is less than the number", change(first+3, `part="4/`, `part="4/3`), ""},
		{"it has no number", change(first, ` part="1/`, ` part="0/`), "not of the form"},
		{"its numbers contradict each other", change(first, ` part=1/`, ` part=3/`), "part numbers"},
		{"a part is altered", append(slices.Clone(messages), bytes.Replace(messages[first+1], []byte(" part=2/"), []byte(" part=2/x"), 1)), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			list, summary := all(t, inMemory(bytes.Join(test.messages, []byte("\n"))), Selection{}, memoryLimit)
			if len(list) != 1 {
				t.Fatalf("%d sessions", len(list))
			}
			broken := append(list[0].Broken, summary.Broken...)
			if len(broken) == 0 {
				t.Fatal("nothing is reported")
			}
			if !slices.ContainsFunc(broken, func(b Broken) bool {
				return strings.Contains(b.What, test.want) && b.Operation == "42" && b.Place.Line > 0
			}) {
				t.Errorf("%+v, want %q", broken, test.want)
			}
		})
	}
}

// TestAlteredPart checks that of two different parts with one number, each is in a record: the
// digests show which is right.
func TestAlteredPart(t *testing.T) {
	made := replaytest.NewSession(t, replaytest.Key(t), "42", replaytest.Options{Pieces: 40, Long: true})
	messages := replaytest.Messages(t, syslog.Options{MaxMessageBytes: 2048}, made.Entries())
	i := slices.IndexFunc(messages, func(m []byte) bool {
		return bytes.Contains(m, []byte(" output ")) && bytes.Contains(m, []byte(` part="2/`))
	})
	altered := bytes.Clone(messages[i])
	altered[len(altered)-1]++
	list, summary := all(t, inMemory(bytes.Join(append(messages, altered), []byte("\n"))), Selection{}, memoryLimit)
	if len(list) != 1 || summary.BrokenCount > 0 || len(list[0].Broken) > 0 || len(list[0].Records) != len(made.Records)+1 {
		t.Fatalf("%d records, want %d and one more: %+v", len(list[0].Records), len(made.Records), summary)
	}
	compare(t, list[0], made.Records, replaytest.Form{Name: "parts", TextDigests: true})
}

// TestManyAlteredParts checks that the memory for the records of one group of parts is bounded.
func TestManyAlteredParts(t *testing.T) {
	op := &schema.Operation{ID: "1"}
	var records []*Record
	for number := 1; number <= 50; number++ {
		for variant := range byte(100) {
			records = append(records, &Record{Record: schema.Record{Sequence: 1, Text: []byte{variant}}, Operation: op, Part: Part{number, 50, number - 1}})
		}
	}
	joined, broken := joinParts(records)
	if len(joined) != maxJoined || len(broken) != 1 {
		t.Errorf("%d records, %d broken", len(joined), len(broken))
	}
}
