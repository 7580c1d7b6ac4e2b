package audit

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/replay/replaytest"
	"github.com/ttydrain/ttydrain/schema"
)

// scene is the input for damage: the units of two complete sessions, in one form.
type scene struct {
	t        *testing.T
	form     replaytest.Form
	a, b     [][]byte                  // of the sessions 41 and 42
	other    [][]byte                  // session 42 as created and signed by another installation
	patterns map[string]*regexp.Regexp // of fields
	forge    [][]byte                  // 42 with another line and digests that follow, and the signature as it was
}

// Indexes of session 42's units, by the content of their records.
type spots struct{ plain, styled, bad, resize, password, end int }

func spotsOf(t *testing.T, records []schema.Record) spots {
	find := func(what func(*schema.Record) bool) int {
		i := slices.IndexFunc(records, func(r schema.Record) bool { return what(&r) })
		if i < 3 {
			t.Fatal("the session lacks the expected content")
		}
		return i
	}
	return spots{
		plain:    find(func(r *schema.Record) bool { return bytes.Contains(r.Log, []byte("$ exit")) }),
		styled:   find(func(r *schema.Record) bool { return bytes.Contains(r.Log, []byte("\x1b[01;34m")) }),
		bad:      find(func(r *schema.Record) bool { return bytes.Contains(r.Log, []byte("\xff")) }),
		resize:   find(func(r *schema.Record) bool { return r.Event == schema.EventResize && r.Sequence > 15 }),
		password: find(func(r *schema.Record) bool { return bytes.Contains(r.Log, []byte("Password")) }),
		end:      len(records) - 1,
	}
}

// field returns the position of a field's value, in either form.
func (s *scene) field(unit []byte, name string) (from, to int) {
	pattern := ` ` + name + `="((?:[^"\\]|\\.)*)"`
	if s.form.JSON {
		pattern = `"` + name + `":(?:"((?:[^"\\]|\\.)*)"|([0-9]+))`
	}
	if s.patterns[pattern] == nil {
		s.patterns[pattern] = regexp.MustCompile(pattern)
	}
	m := s.patterns[pattern].FindSubmatchIndex(unit)
	if m == nil {
		s.t.Fatalf("%s: there is no %s in %s", s.form.Name, name, unit)
	}
	if m[2] < 0 {
		return m[4], m[5]
	}
	return m[2], m[3]
}

func (s *scene) get(unit []byte, name string) string {
	from, to := s.field(unit, name)
	return string(unit[from:to])
}

// set returns a unit with another value of a field.
func (s *scene) set(unit []byte, name, value string) []byte {
	from, to := s.field(unit, name)
	return slices.Concat(unit[:from], []byte(value), unit[to:])
}

// flip is a unit with one bit changed, in a letter or digit of a field: the last one.
func (s *scene) flip(unit []byte, name string) []byte {
	from, to := s.field(unit, name)
	return flipIn(s.t, unit, from, to)
}

func flipIn(t *testing.T, unit []byte, from, to int) []byte {
	changed := bytes.Clone(unit)
	for i := to - 1; i >= from; i-- {
		if c := changed[i]; '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' {
			changed[i] ^= 1
			if i > from && changed[i-1] == '\\' {
				changed[i] ^= 1
				continue
			}
			return changed
		}
	}
	t.Fatalf("there is nothing to flip in %q", unit[from:to])
	return nil
}

// message returns the position of the readable text.
func (s *scene) flipText(unit []byte) []byte {
	switch {
	case !s.form.JSON:
		return flipIn(s.t, unit, bytes.Index(unit, []byte("operation_id=42 "))+len("operation_id=42 "), len(unit))
	case bytes.Contains(unit, []byte(`"message":`)):
		return s.flip(unit, "message")
	case bytes.Contains(unit, []byte(`"line":`)):
		return s.flip(unit, "line")
	}
	return s.flip(unit, "text")
}

// flipLog flips one bit of the output.
func (s *scene) flipLog(unit []byte) []byte {
	if s.form.JSON {
		return s.flip(unit, "log")
	}
	log, err := base64.StdEncoding.DecodeString(s.get(unit, "log_base64"))
	if err != nil {
		s.t.Fatal(err)
	}
	return s.set(unit, "log_base64", base64.StdEncoding.EncodeToString(flipIn(s.t, log, 0, len(log))))
}

// renumbered is a unit under another sequence, in all that says it.
func (s *scene) renumbered(unit []byte, sequence int) []byte {
	unit = s.set(unit, "sequence", strconv.Itoa(sequence))
	if !s.form.JSON {
		unit = s.set(unit, "sequenceId", strconv.Itoa(sequence))
	}
	return unit
}

// given is a unit under another operation's ID, in all that says it.
func (s *scene) given(unit []byte, from, to string) []byte {
	for _, form := range []string{`"operation_id":"%s"`, `"file":"operations/%s"`, ` operation_id="%s"`, ` operation_id=%s `, `"operation_id=%s `, ` web %s `} {
		unit = bytes.ReplaceAll(unit, fmt.Appendf(nil, form, from), fmt.Appendf(nil, form, to))
	}
	return unit
}

// damage is a modification of a copy. want are the findings, with %d for the sequence that is
// damaged.
type damage struct {
	name string
	do   func(s *scene, at spots) (sequence int)
	want string
	// needs restricts the forms: "json", "syslog", "bytes" (exact), "headed" (a syslog header), or
	// "" for all.
	needs string
	// syslog are the findings in syslog if they differ, since its records have fewer fields.
	syslog string
}

// drop removes units.
func drop(units *[][]byte, i, n int) { *units = slices.Delete(slices.Clone(*units), i, i+n) }

// one returns a modification of one unit.
func one(where func(at spots) int, change func(s *scene, unit []byte) []byte) func(*scene, spots) int {
	return func(s *scene, at spots) int {
		i := where(at)
		s.b[i] = change(s, s.b[i])
		return i + 1
	}
}

func flipped(name string) func(*scene, []byte) []byte {
	return func(s *scene, unit []byte) []byte { return s.flip(unit, name) }
}

var (
	atPlain    = func(at spots) int { return at.plain }
	atStyled   = func(at spots) int { return at.styled }
	atBad      = func(at spots) int { return at.bad }
	atResize   = func(at spots) int { return at.resize }
	atPassword = func(at spots) int { return at.password }
	atEnd      = func(at spots) int { return at.end }
	atStart    = func(spots) int { return 0 }
)

var damages = []damage{
	{name: "a line dropped", want: "42 missing %d", do: func(s *scene, at spots) int { drop(&s.b, at.plain, 1); return at.plain + 1 }},
	{name: "a resize dropped", want: "42 missing %d", do: func(s *scene, at spots) int { drop(&s.b, at.resize, 1); return at.resize + 1 }},
	{name: "a run dropped", want: "42 missing %[1]d-%[2]d", do: func(s *scene, at spots) int { drop(&s.b, at.styled, 3); return at.styled + 1 }},
	{name: "the start dropped", want: "42 missing 1", do: func(s *scene, at spots) int { drop(&s.b, 0, 1); return 1 }},
	{name: "the end dropped", want: "42 no_end %d", do: func(s *scene, at spots) int { drop(&s.b, at.end, 1); return at.end + 1 }},
	{name: "the end cut", want: "42 no_end %d", do: func(s *scene, at spots) int { drop(&s.b, at.end-5, 6); return at.end - 4 }},
	{name: "two places", want: "42 missing 3, 42 missing %d", do: func(s *scene, at spots) int { drop(&s.b, at.plain, 1); drop(&s.b, 2, 1); return at.plain + 1 }},

	{name: "two records swapped", want: "42 reordered %[1]d, 42 reordered %[3]d", do: func(s *scene, at spots) int {
		s.b[at.plain], s.b[at.plain+1] = s.renumbered(s.b[at.plain], at.plain+2), s.renumbered(s.b[at.plain+1], at.plain+1)
		return at.plain + 1
	}},
	{name: "two distant records swapped", want: "42 reordered 5, 42 reordered %d", do: func(s *scene, at spots) int {
		s.b[4], s.b[at.bad] = s.renumbered(s.b[at.bad], 5), s.renumbered(s.b[4], at.bad+1)
		return at.bad + 1
	}},
	{name: "contents swapped", needs: "bytes", want: "42 reordered %[1]d, 42 reordered %[3]d", do: func(s *scene, at spots) int {
		a, b := s.b[at.plain], s.b[at.plain+1]
		names := []string{"log_base64", "timing"}
		if s.form.JSON {
			names = []string{"log", "text", "timing"}
			if bytes.Contains(a, []byte(`"message":`)) {
				names[1] = "message"
			} else if bytes.Contains(a, []byte(`"line":`)) {
				names[1] = "line"
			}
		}
		for _, n := range names {
			va, vb := s.get(a, n), s.get(b, n)
			a, b = s.set(a, n, vb), s.set(b, n, va)
		}
		if !s.form.JSON {
			at := func(u []byte) int { return bytes.Index(u, []byte("] ")) }
			a, b = slices.Concat(a[:at(a)], b[at(b):]), slices.Concat(b[:at(b)], a[at(a):])
		}
		s.b[at.plain], s.b[at.plain+1] = a, b
		return at.plain + 1
	}},
	{name: "renumbered after one was dropped", want: "42 changed %[1]d, 42 missing 30, 42 changed 31", do: func(s *scene, at spots) int {
		drop(&s.b, at.plain, 1)
		for i := at.plain; i < len(s.b)-1; i++ {
			s.b[i] = s.renumbered(s.b[i], i+1)
		}
		s.b[len(s.b)-1] = s.renumbered(s.b[len(s.b)-1], len(s.b))
		return at.plain + 1
	}},

	{name: "a bit of a line", needs: "bytes", want: "42 changed %d", do: one(atPlain, (*scene).flipLog)},
	{name: "a bit of a styled line", needs: "bytes", want: "42 changed %d", do: one(atStyled, (*scene).flipLog)},
	{name: "a bit of invalid UTF-8", needs: "bytes", want: "42 changed %d", do: one(atBad, flipped("log_base64"))},
	{name: "a bit of the text of invalid UTF-8", needs: "json", want: "42 changed %d", do: one(atBad, flipped("log"))},
	{name: "a bit of a text", want: "42 changed %d", do: one(atPlain, (*scene).flipText)},
	{name: "a bit of a text of a prompt", want: "42 changed %d", do: one(atPassword, (*scene).flipText)},
	{name: "a bit of an event's text", want: "42 changed %d", do: one(atResize, (*scene).flipText)},
	{name: "a bit of a digest", needs: "bytes", want: "42 changed %d", do: one(atPlain, flipped("digest"))},
	{name: "a bit of a text digest", needs: "syslog", want: "42 changed %d", do: one(atPlain, flipped("text_digest"))},
	{name: "a bit of an offset", needs: "bytes", want: "42 changed %d", do: one(atPlain, flipped("offset"))},
	{name: "a bit of a sequence", want: "42 reordered %[1]d", do: one(atPlain, func(s *scene, unit []byte) []byte {
		n, _ := strconv.Atoi(s.get(unit, "sequence"))
		return s.renumbered(unit, n|1<<20)
	})},
	{name: "one of two sequence fields", needs: "syslog", want: "42 changed %d", do: one(atPlain, func(s *scene, unit []byte) []byte { return s.set(unit, "sequenceId", "3") })},
	{name: "an invalid sequence", want: "42 reordered %[1]d", do: one(atPlain, func(s *scene, unit []byte) []byte { return s.renumbered(unit, 0) })},
	{name: "a timing", needs: "bytes", want: "42 changed %d", do: one(atStyled, flipped("timing"))},
	{name: "a size of the terminal", want: "42 changed %d", do: one(atResize, flipped("width"))},
	{name: "the command", want: "42 changed 1", do: one(atStart, flipped("command"))},
	{name: "the status", want: "42 changed %d", do: one(atEnd, flipped("exit_status"))},
	{name: "the reason", want: "42 changed %d", do: one(atEnd, flipped("reason"))},
	{name: "the total", want: "42 changed %d", do: one(atEnd, flipped("bytes"))},
	{name: "the last digest", want: "42 changed %d", do: one(atEnd, flipped("digest"))},
	{name: "the app", needs: "json", want: "42 changed %d", do: one(atPlain, flipped("app_id"))},
	{name: "the host", needs: "headed", want: "42 changed %d", do: one(atPlain, func(s *scene, unit []byte) []byte {
		if s.form.JSON {
			return s.set(unit, "host", "gateway-0")
		}
		return bytes.Replace(unit, []byte("gateway-1"), []byte("gateway-0"), 1)
	})},
	{name: "the user's name", needs: "json", want: "42 changed %d", do: one(atPlain, flipped("operation_user_name"))},
	{name: "the user's name everywhere", needs: "json", want: "42 changed 1-%d", do: func(s *scene, at spots) int {
		for i := range s.b {
			s.b[i] = s.set(s.b[i], "operation_user_name", "Eve")
		}
		return len(s.b)
	}},
	{name: "a user document", needs: "json", want: "42 changed %d", do: one(atPlain, flipped("APTIBLE_USER_DOCUMENT"))},
	{name: "an event's name", needs: "json", want: "42 changed %d", do: one(atPlain, func(s *scene, unit []byte) []byte { return s.set(unit, "event", "outpuu") })},
	{name: "an event's name replaced by another", needs: "json", want: "42 changed %d", do: one(atPlain, func(s *scene, unit []byte) []byte { return s.set(unit, "event", "end") })},
	{name: "a stream", needs: "json", want: "42 changed %d", do: one(atPlain, func(s *scene, unit []byte) []byte { return s.set(unit, "stream", "stderr") })},

	{name: "a quotation mark", want: "42 changed %d", do: one(atPlain, func(s *scene, unit []byte) []byte {
		from, _ := s.field(unit, "digest")
		changed := bytes.Clone(unit)
		changed[from-1] ^= 1
		return changed
	})},
	{name: "the first brace", needs: "json", want: "42 changed %d", do: one(atPlain, func(s *scene, unit []byte) []byte { return append([]byte("z"), unit[1:]...) })},
	{name: "the last brace", needs: "json", want: "42 changed %d", do: one(atPlain, func(s *scene, unit []byte) []byte { return append(bytes.Clone(unit[:len(unit)-1]), 'y') })},
	{name: "a name", needs: "json", want: "42 changed %d", do: one(atPlain, func(s *scene, unit []byte) []byte {
		return bytes.Replace(unit, []byte(`"event"`), []byte(`"evenu"`), 1)
	})},
	{name: "the name of the bytes", needs: "json", want: "42 changed %d", do: one(atPlain, func(s *scene, unit []byte) []byte { return bytes.Replace(unit, []byte(`"log"`), []byte(`"lof"`), 1) })},
	{name: "the name of the structured data", needs: "syslog", want: "42 changed %d", do: one(atPlain, func(s *scene, unit []byte) []byte {
		return bytes.Replace(unit, []byte("session@"), []byte("sessioo@"), 1)
	})},
	{name: "cut short", want: "42 changed %[1]d, 42 no_end %[1]d", do: one(atEnd, func(s *scene, unit []byte) []byte { return unit[:len(unit)*2/3] })},

	{name: "another with the same sequence", want: "42 added %d", do: func(s *scene, at spots) int {
		s.b = append(slices.Clone(s.b), s.flipText(s.renumbered(s.b[at.plain], at.plain+1)))
		return at.plain + 1
	}},
	{name: "an extra record in between", want: "42 added %d", do: func(s *scene, at spots) int {
		s.b = slices.Insert(slices.Clone(s.b), at.styled, s.renumbered(s.b[at.plain], at.styled+1))
		return at.styled + 1
	}},
	{name: "an extra record after the end", want: "42 added %d", do: func(s *scene, at spots) int {
		s.b = append(slices.Clone(s.b), s.renumbered(s.b[at.plain], at.end+2))
		return at.end + 2
	}},
	{name: "a record of another session with a new ID", want: "41 missing 7, 42 foreign 7", do: func(s *scene, at spots) int {
		s.b = append(slices.Clone(s.b), s.given(s.a[6], "41", "42"))
		drop(&s.a, 6, 1)
		return 7
	}, syslog: "41 missing 7, 42 added 7"},
	{name: "a record replaced by one of another session", want: "41 missing 7, 42 foreign 7", do: func(s *scene, at spots) int {
		s.b = slices.Clone(s.b)
		s.b[6] = s.given(s.a[6], "41", "42")
		drop(&s.a, 6, 1)
		return 7
	}, syslog: "41 missing 7, 42 changed 7"},
	{name: "a record of another session with its ID", want: "41 missing 7, 42 foreign 7", do: func(s *scene, at spots) int {
		unit := s.a[6]
		if s.form.JSON {
			unit = bytes.Replace(unit, []byte(`"operation_id":"41"`), []byte(`"operation_id":"42"`), 1)
		} else {
			unit = s.set(unit, "operation_id", "42")
		}
		s.b = append(slices.Clone(s.b), unit)
		drop(&s.a, 6, 1)
		return 7
	}},
	{name: "a session under another's ID", want: "42 signature 1, 42 signature %d", do: func(s *scene, at spots) int {
		n := len(s.a)
		for i := range s.a {
			s.a[i] = s.given(s.a[i], "41", "42")
		}
		s.b = nil
		return n
	}},

	{name: "not signed", want: "42 signature %d", do: one(atEnd, func(s *scene, unit []byte) []byte { return s.set(unit, "signature", "") })},
	{name: "a bit of the signature", want: "42 signature %d", do: one(atEnd, flipped("signature"))},
	{name: "signed by another key", want: "42 signature %d", do: one(atEnd, func(s *scene, unit []byte) []byte {
		return s.set(unit, "signature", s.get(s.other[len(s.other)-1], "signature"))
	})},
	{name: "signed by another key under the right key ID", want: "42 signature %d", do: one(atEnd, func(s *scene, unit []byte) []byte {
		own, other := strings.Split(s.get(unit, "signature"), "."), strings.Split(s.get(s.other[len(s.other)-1], "signature"), ".")
		return s.set(unit, "signature", strings.Join([]string{own[0], own[1], other[2]}, "."))
	})},
	{name: "signed for another session", want: "42 signature %d", do: one(atEnd, func(s *scene, unit []byte) []byte {
		return s.set(unit, "signature", s.get(s.a[len(s.a)-1], "signature"))
	})},
	{name: "created by another installation", want: "42 signature 0, 42 signature 1, 42 signature %d", do: func(s *scene, at spots) int { s.b = s.other; return len(s.b) }, syslog: "42 signature 1, 42 signature %d"},
	{name: "forged with consistent digests", want: "42 changed 1-%[1]d, 42 changed %[1]d", do: func(s *scene, at spots) int { s.b = s.forge; return len(s.b) }},
}

// applies reports whether the damage is possible in a form. Forms that differ only in the envelope
// of records get every fourth.
func (d *damage) applies(f replaytest.Form, number int) bool {
	if slices.Contains([]string{"file", "array", "datadog", "concatenated", "gzip", "zstd", "elasticsearch export", "solarwinds", "syslog counted", "syslog in JSON"}, f.Name) && number%4 != 0 {
		return false
	}
	switch d.needs {
	case "json":
		return f.JSON
	case "syslog":
		return !f.JSON
	case "bytes":
		return f.Bytes
	case "headed":
		return f.JSON || f.Name != "syslog with another header"
	}
	return true
}

// TestDamaged checks that each kind of damage is found at the right place, and nowhere else.
func TestDamaged(t *testing.T) {
	key, stranger := replaytest.Key(t), replaytest.Key(t)
	checker := &Checker{Keys: keySet(t, key)}
	patterns := make(map[string]*regexp.Regexp)
	done := 0
	for _, f := range replaytest.Forms() {
		a, b := replaytest.NewSession(t, key, "41", replaytest.Options{Pieces: 40}), replaytest.NewSession(t, key, "42", replaytest.Options{Pieces: 40})
		other := replaytest.NewSession(t, stranger, "42", replaytest.Options{Pieces: 40})
		forged := replaytest.NewSession(t, key, "42", replaytest.Options{Pieces: 40, Twist: true})
		entries := slices.Concat(a.Entries(), b.Entries(), other.Entries(), forged.Entries())
		units := f.Write(t, entries)
		cut := func(n int) [][]byte {
			part := units[:n:n]
			units = units[n:]
			return part
		}
		whole := scene{form: f, patterns: patterns, a: cut(len(a.Records)), b: cut(len(b.Records)), other: cut(len(other.Records)), forge: cut(len(forged.Records))}
		at := spotsOf(t, b.Records)
		for number, d := range damages {
			if !d.applies(f, number) {
				continue
			}
			done++
			t.Run(f.Name+"/"+d.name, func(t *testing.T) {
				s := whole
				s.t, s.a, s.b, s.forge = t, slices.Clone(s.a), slices.Clone(s.b), slices.Clone(s.forge)
				n := len(s.forge) - 1
				s.forge[n] = s.set(s.forge[n], "signature", s.get(s.b[len(s.b)-1], "signature"))
				sequence := d.do(&s, at)
				want := d.want
				if !f.JSON && d.syslog != "" {
					want = d.syslog
				}
				if strings.Contains(want, "%") {
					want = strings.TrimSuffix(strings.SplitN(fmt.Sprintf(want+"\x00", sequence, sequence+2, sequence+1), "\x00", 2)[0], "\x00")
				}
				results, summary := audited(t, checker, f.Join(slices.Concat(s.a, s.b)))
				if got := findings(results, true); got != want {
					t.Errorf("found %q, want %q (%+v)\n%+v", got, want, summary, results["42"].Findings)
				}
			})
		}
	}
	if done < 100 {
		t.Errorf("only %d damages", done)
	}
	t.Logf("%d damaged copies", done)
}
