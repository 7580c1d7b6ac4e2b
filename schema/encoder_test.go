package schema

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/quick"
	"time"
	"unicode/utf8"
)

// The exact bytes are recovered from "log", or from "log_base64".
func TestRecordKeepsBytes(t *testing.T) {
	var e Encoder
	op := testOperation()
	invalid, valid := 0, 0
	check := func(log []byte) bool {
		data, err := e.AppendRecord(nil, op, &Record{Sequence: 1, Log: log})
		if err != nil {
			t.Error(err)
			return false
		}
		var fields struct {
			Log    string  `json:"log"`
			Base64 *string `json:"log_base64"`
		}
		if err := json.Unmarshal(data, &fields); err != nil {
			t.Errorf("%v: %q", err, data)
			return false
		}
		if utf8.Valid(log) {
			valid++
			return fields.Base64 == nil && fields.Log == string(log)
		}
		invalid++
		if fields.Base64 == nil {
			return false
		}
		got, err := base64.StdEncoding.DecodeString(*fields.Base64)
		return err == nil && bytes.Equal(got, log)
	}
	if err := quick.Check(check, nil); err != nil {
		t.Error(err)
	}
	if err := quick.Check(func(s string) bool { return check([]byte(s)) }, nil); err != nil {
		t.Error(err)
	}
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	if !check(all) || !check(all[:128]) || !check(nil) {
		t.Error("bytes are lost")
	}
	if valid == 0 || invalid == 0 {
		t.Errorf("tried %d valid and %d invalid logs", valid, invalid)
	}
}

// A record is one line of ASCII-safe JSON: it contains nothing that any receiver treats as a line
// end.
func TestRecordIsOneLine(t *testing.T) {
	op := testOperation()
	op.User.Name = "Ada\n\u2028\u2029\x7f\x00"
	data := encodeRecord(t, op, &Record{Sequence: 1, Log: []byte("a\r\n\v\f\x00\x7f\u2028\u2029"), Text: []byte("\u2028")})
	if strings.ContainsAny(string(data), "\r\n\v\f\x00\u2028\u2029") {
		t.Errorf("not one line: %q", data)
	}
}

func TestAppendTime(t *testing.T) {
	for at, want := range map[int64]string{
		0:                         "1970-01-01T00:00:00.000000000Z",
		1:                         "1970-01-01T00:00:00.000000001Z",
		-1:                        "1969-12-31T23:59:59.999999999Z",
		math.MinInt64:             "1677-09-21T00:12:43.145224192Z",
		math.MaxInt64:             "2262-04-11T23:47:16.854775807Z",
		1_772_357_400_500_000_000: "2026-03-01T09:30:00.500000000Z",
	} {
		if got := string(AppendTime(nil, at)); got != want {
			t.Errorf("%d: %s, want %s", at, got, want)
		}
	}
}

// Every pair of digits and every fraction of a second match those of the standard library.
func TestAppendTimeMatchesStandardLibrary(t *testing.T) {
	at := time.Date(1999, 12, 31, 23, 59, 59, 0, time.UTC)
	for i := range 2_000 {
		at := at.Add(time.Duration(i) * 3_723_004_005_006_789)
		if got, want := string(AppendTime(nil, at.UnixNano())), at.Format("2006-01-02T15:04:05.000000000Z"); got != want {
			t.Fatalf("%d: %s, want %s", at.UnixNano(), got, want)
		}
	}
}

func TestAppendHex(t *testing.T) {
	var d Digest
	for b := range 256 {
		for i := range d {
			d[i] = byte(b + i)
		}
		if got, want := string(d.AppendHex([]byte("x"))), "x"+d.String(); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	}
}

// A text that shares memory with the start of its log is encoded like one that does not.
func TestTextOfLog(t *testing.T) {
	var e Encoder
	op := testOperation()
	shared := 0
	check := func(log []byte, n int) {
		t.Helper()
		r := Record{Sequence: 1, Log: log, Text: log[:n]}
		got := encodeRecord(t, op, &r)
		if sharesPrefix(r.Log, r.Text) {
			shared++
		}
		r.Text = bytes.Clone(r.Text)
		if want, err := e.AppendRecord(nil, op, &r); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q, %d bytes: %s, want %s (%v)", log, n, got, want, err)
		}
	}
	for _, log := range []string{"", "\n", "ls -l\r\n", "a \"quoted\" \\ line\r\r\n", "\tgrüße, 日本語\u2028\n", "\xff\xe2\x82\n", "\xe2\x82", "日\xe6\x97\xa5本"} {
		for n := range len(log) + 1 {
			check([]byte(log), n)
		}
	}
	if shared < 20 {
		t.Errorf("%d are shared", shared)
	}
}

func TestEncoderSharesOperations(t *testing.T) {
	var e Encoder
	r := &testSegment().Records[1]
	for i := range 3 * minLookups {
		op := testOperation()
		op.ID = fmt.Sprint(i + 1)
		for range 2 {
			data, err := e.AppendRecord(nil, op, r)
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf(`"operation_id":"%d"`, i+1); !bytes.Contains(data, []byte(want)) {
				t.Fatalf("no %s in %s", want, data)
			}
		}
		if n := len(e.operations.current) + len(e.operations.previous); n > 2*minLookups || n < min(i, minLookups) {
			t.Fatalf("keeps %d operations after %d", n, i+1)
		}
	}
}

func TestAppendRecordAppends(t *testing.T) {
	var e Encoder
	s := testSegment()
	got := []byte("before")
	for i := range s.Records {
		var err error
		if got, err = e.AppendRecord(got, s.Operation, &s.Records[i]); err != nil {
			t.Fatal(err)
		}
	}
	want := "before"
	for i := range s.Records {
		want += string(encodeRecord(t, s.Operation, &s.Records[i]))
	}
	if string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{
		"", "plain", "\x00\x1f\x7f\"\\/\b\f\n\r\t", "\u0080\u009f\u2027\u2028\u2029\u202a\ufffd\ufeff", "\U0001f600\U0010ffff",
		"\xff", "a\xc3", "\xc3(", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x80", "\xc0\x80", "\xf0\x9f\x98", "<script>&amp;",
	} {
		f.Add([]byte(s))
		for before := range 17 { // it processes eight bytes at a time
			f.Add([]byte(strings.Repeat("~ ", 9)[:before] + s + "0123456789"))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, valid := AppendString([]byte("x"), b)
		if got[0] != 'x' {
			t.Fatal("the existing bytes are changed")
		}
		got = got[1:]
		if valid != utf8.Valid(b) {
			t.Errorf("valid is %t", valid)
		}
		reference, err := json.Marshal(string(b))
		if err != nil {
			t.Fatal(err)
		}
		var have, want string
		if err := json.Unmarshal(got, &have); err != nil {
			t.Fatalf("not a JSON string: %v: %q", err, got)
		}
		if err := json.Unmarshal(reference, &want); err != nil {
			t.Fatal(err)
		}
		if have != want {
			t.Errorf("decodes as %q, want %q", have, want)
		}
		if valid && have != string(b) {
			t.Errorf("decodes as %q, want %q", have, b)
		}
		if !utf8.Valid(got) || strings.ContainsFunc(string(got), func(r rune) bool { return r < 0x20 || escapedInJSON(r) }) {
			t.Errorf("not safe: %q", got)
		}
	})
}
