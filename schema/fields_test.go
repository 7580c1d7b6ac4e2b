package schema

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// vectors returns what signatures cover, in readable form.
func vectors(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	op := testOperation()
	fmt.Fprintf(&b, "operation %x\n", AppendFields(nil, op.Fields()))
	operation := FieldsDigest(op.Fields())
	fmt.Fprintf(&b, "operation digest %s\n", operation)
	fmt.Fprintf(&b, "empty operation %x\n", AppendFields(nil, new(Operation).Fields()))
	d := NewFieldDigests(operation)
	records := testSegment().Records
	after := records[len(records)-1]
	for _, r := range append(records, fileRecords(after)...) {
		if err := d.Add(&r); err != nil {
			t.Fatal(err)
		}
		fields, timing := d.Sums()
		fmt.Fprintf(&b, "%s %d fields %s timing %s\n", r.Event, r.Sequence, fields, timing)
	}
	d.Restart(d.Sums())
	fields, timing := d.Sums()
	fmt.Fprintf(&b, "restarted fields %s timing %s\n", fields, timing)
	return b.String()
}

// TestSignedVectors: what signatures cover has the same bytes for ever, or the signatures of
// earlier versions could not be verified. The file never changes; new vectors get a file of their
// own.
func TestSignedVectors(t *testing.T) {
	want, err := os.ReadFile(filepath.Join("testdata", "signed", "vectors.txt"))
	if err != nil {
		t.Fatal(err)
	}
	got := bufio.NewScanner(strings.NewReader(vectors(t)))
	got.Buffer(nil, 1<<20)
	for line := range strings.Lines(string(want)) {
		if !got.Scan() || got.Text() != strings.TrimSuffix(line, "\n") {
			t.Errorf("got  %s\nwant %s", got.Text(), line)
		}
	}
	if got.Scan() {
		t.Error("there are more vectors than in the file")
	}
}

// TestFieldDigests computes the digests as their documentation describes them.
func TestFieldDigests(t *testing.T) {
	operation := Digest{1, 2, 3}
	d := NewFieldDigests(operation)
	fields, timing := bytes.Clone(operation[:]), bytes.Clone(operation[:])
	yes := true
	for _, r := range []Record{
		{Event: EventStart, Time: 1_234_567, Detail: &Detail{Interactive: &yes, Width: 80, Command: "a\x1bb", Signature: "not covered"}},
		{Event: EventOutput, Time: 1_234_999, Stream: Stderr, Partial: true, Timing: []byte("0:7")},
	} {
		if err := d.Add(&r); err != nil {
			t.Fatal(err)
		}
		flags := byte(0)
		if r.Partial {
			flags = 1 | 2
		}
		fields = binary.BigEndian.AppendUint64(append(fields, byte(r.Event), flags), 1234)
		if r.Event == EventOutput {
			timing = append(append(timing, 3), "0:7"...)
			continue
		}
		detail := "\x07command\x05a\ufffdb\x0binteractive\x04true\x05width\x0280"
		fields = append(append(fields, byte(len(detail))), detail...)
	}
	gotFields, gotTiming := d.Sums()
	if gotFields != sha256.Sum256(fields) || gotTiming != sha256.Sum256(timing) {
		t.Errorf("the digests are %s and %s", gotFields, gotTiming)
	}
}

// TestFieldDigestsContinue: the state continues after every record, and what is not a state is
// refused.
func TestFieldDigestsContinue(t *testing.T) {
	whole := NewFieldDigests(Digest{})
	records := testSegment().Records
	for i := range 50 {
		parted := NewFieldDigests(Digest{9})
		state, err := whole.AppendState([]byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		rest, err := parted.Restore(append(state[1:], "rest"...))
		if err != nil || string(rest) != "rest" {
			t.Fatalf("%q, %v", rest, err)
		}
		for n := range state[1:] {
			if _, err := NewFieldDigests(Digest{}).Restore(state[1:][:n]); err == nil {
				t.Fatalf("a state of %d of %d bytes is accepted", n, len(state)-1)
			}
		}
		r := &records[i%len(records)]
		for _, d := range []*FieldDigests{whole, parted} {
			if err := d.Add(r); err != nil {
				t.Fatal(err)
			}
		}
		a, b := whole.Sums()
		if c, d := parted.Sums(); a != c || b != d {
			t.Fatalf("record %d: the digests differ", i)
		}
	}
}

// testOrigin has all fields.
var testOrigin = Origin{
	Address: "192.0.2.7", Client: "SSH-2.0-OpenSSH_9.9", Method: MethodCertificateToken,
	Key: "SHA256:key", Serial: "7", CA: "SHA256:ca",
}

// TestFieldsOfOrigin: the signed bytes of an origin never change, and it adds nothing where it is
// unknown.
func TestFieldsOfOrigin(t *testing.T) {
	op := Operation{Origin: testOrigin}
	const want = "\x0eorigin_address\x09192.0.2.7\x09origin_ca\x09SHA256:ca\x0dorigin_client\x13SSH-2.0-OpenSSH_9.9" +
		"\x0aorigin_key\x0aSHA256:key\x0dorigin_method\x11certificate+token\x0dorigin_serial\x017"
	if got := string(AppendFields(nil, op.Fields())); got != want {
		t.Errorf("%q; expected %q", got, want)
	}
	if got := new(Operation).Fields(); len(got) != 0 {
		t.Errorf("without an origin: %q", got)
	}
}

// TestFieldsOfOperation: every field of an operation is signed, also one that is added later.
func TestFieldsOfOperation(t *testing.T) {
	full := *testOperation()
	full.PHI, full.Origin = true, testOrigin
	want := full.Fields()
	var change func(v reflect.Value, name string)
	changes := 0
	change = func(v reflect.Value, name string) {
		if v.Kind() == reflect.Struct && v.NumField() > 0 && v.Type().Field(0).IsExported() {
			for i := range v.NumField() {
				change(v.Field(i), name+"."+v.Type().Field(i).Name)
			}
			return
		}
		if v.IsZero() {
			t.Errorf("%s has no value in the test", name)
		}
		changes++
		before := reflect.ValueOf(v.Interface())
		v.SetZero()
		if maps.Equal(full.Fields(), want) {
			t.Errorf("%s is not signed", name)
		}
		v.Set(before)
	}
	change(reflect.ValueOf(&full).Elem(), "Operation")
	if changes < 25 || !maps.Equal(full.Fields(), want) {
		t.Errorf("%d fields", changes)
	}
}

// TestFieldsOfDetail: every detail of an event but the signature is in the digest, also one that is
// added later.
func TestFieldsOfDetail(t *testing.T) {
	empty, err := new(Detail).fields()
	if err != nil || len(empty) != 0 {
		t.Fatalf("%q, %v", empty, err)
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Detail]()) {
		if field.Anonymous {
			continue // its own fields follow
		}
		d := new(Detail)
		f := reflect.ValueOf(d).Elem().FieldByIndex(field.Index)
		switch f.Kind() {
		case reflect.Pointer:
			f.Set(reflect.New(f.Type().Elem()))
		case reflect.String:
			f.SetString("x")
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Slice:
			f.SetBytes([]byte("x"))
		case reflect.Int:
			f.SetInt(1)
		default:
			f.SetUint(1)
		}
		name := field.Name
		fields, err := d.fields()
		if err != nil || (len(fields) == 1) == (name == "Signature") {
			t.Errorf("%s: %q, %v", name, fields, err)
		}
	}
}

func TestAppendFields(t *testing.T) {
	fields := map[string]string{"b": "2", "a": strings.Repeat("x", 200), "empty": ""}
	got := AppendFields(nil, fields)
	want := "\x01a\xc8\x01" + fields["a"] + "\x01b\x012"
	if string(got) != want {
		t.Errorf("%q", got)
	}
	delete(fields, "empty")
	if !slices.Equal(AppendFields(nil, fields), got) {
		t.Error("an empty field is not left out")
	}
}
