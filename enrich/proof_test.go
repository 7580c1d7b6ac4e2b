package enrich

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// exampleKey returns the key of RFC 8037, appendix A.
func exampleKey(t testing.TB) *Key {
	t.Helper()
	seed, err := base64.RawURLEncoding.DecodeString("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
	if err != nil {
		t.Fatal(err)
	}
	k, err := newKey(ed25519.NewKeyFromSeed(seed), "")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// payload decodes what a JWS signs, without verification.
func payload(t testing.TB, jws string, into any) {
	t.Helper()
	parts := strings.Split(jws, ".")
	if len(parts) != 3 {
		t.Fatalf("not a JWS: %q", jws)
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// checkSigned computes the digests of fields and timing from a session's records, and compares them
// with what is signed.
func checkSigned(t testing.TB, records []schema.Record) {
	t.Helper()
	var start schema.SignedOperation
	payload(t, records[0].Detail.Signature, &start)
	operation := schema.FieldsDigest(start.Operation)
	d := schema.NewFieldDigests(operation)
	for i := range records {
		r := &records[i]
		if err := d.Add(r); err != nil {
			t.Fatal(err)
		}
		if r.Event != schema.EventEnd && r.Event != schema.EventCheckpoint {
			continue
		}
		var totals schema.Totals
		payload(t, r.Detail.Signature, &totals)
		fields, timing := d.Sums()
		d.Restart(fields, timing)
		want := schema.Totals{
			Operation: start.Operation["operation_id"], Sequence: r.Sequence, Bytes: r.Offset, Digest: r.Digest.String(), TextDigest: r.TextDigest.String(),
			OperationDigest: operation.String(), FieldsDigest: fields.String(), TimingDigest: timing.String(),
		}
		if totals != want {
			t.Errorf("the signed totals are\n%+v\nexpected\n%+v", totals, want)
		}
	}
}

// signedSession returns the records of a session with every kind of record that depends on no
// clock.
func signedSession(t testing.TB, k *Key, change func(*Transcript)) []schema.Record {
	t.Helper()
	user := schema.User{ID: "u-1", Name: "Ada Lovelace", Email: "ada@example.com"}
	document, err := k.Mint("https://auth.example.com", user, t0)
	if err != nil {
		t.Fatal(err)
	}
	op := &schema.Operation{
		ID: "42", Stack: "default", App: "web", AppID: "17", Service: "web-cmd", Layer: "app", Host: "gateway-1", Container: "session-42",
		User: user, UserDocument: document, Command: "bash -l", Started: t0, Expires: t0.Add(time.Hour),
	}
	s := &script{t: t}
	if s.tr, err = New(op, k, time.Now()); err != nil {
		t.Fatal(err)
	}
	change(s.tr)
	start, err := schema.StartFrame(t0, op)
	if err != nil {
		t.Fatal(err)
	}
	s.frame(start)
	s.show(schema.FrameStdout, "\x1b[31mred\x1b[0m\r\n$ ")
	s.at += 1500 * time.Microsecond
	s.show(schema.FrameStderr, "oops\n")
	s.event(schema.FrameInput, &schema.Detail{Input: []byte("x\n")})
	s.end()
	return s.take()
}

// TestGoldenSignatures: the signatures of a start and of an end never change.
func TestGoldenSignatures(t *testing.T) {
	k := exampleKey(t)
	records := signedSession(t, k, func(*Transcript) {})
	checkRecords(t, records)
	checkSigned(t, records)
	for name, r := range map[string]schema.Record{"start": records[0], "end": records[len(records)-1]} {
		golden := filepath.Join("testdata", "v2", name+".jws")
		if *update {
			if err := os.WriteFile(golden, []byte(r.Detail.Signature+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if r.Detail.Signature != strings.TrimSpace(string(want)) {
			t.Errorf("the signature of the %s is\n%s\nexpected\n%s", name, r.Detail.Signature, want)
		}
		header, _ := verify(t, k, r.Detail.Signature)
		if typ := "ttydrain-" + name + "+jwt"; header.ExtraHeaders["typ"] != typ {
			t.Errorf("the type of the %s is %v", name, header.ExtraHeaders["typ"])
		}
		if err := CheckDocument(r.Detail.Signature, time.Now()); err != nil {
			t.Errorf("the signature of the %s could be taken for a token: %v", name, err)
		}
	}
}

// TestSessionOfAnOlderEnricher: where an enricher that does not know proofs has begun or continued
// a session, this one continues it, and its end promises what that version did.
func TestSessionOfAnOlderEnricher(t *testing.T) {
	k := testKey(t)
	whole := signedSession(t, k, func(*Transcript) {})
	older := signedSession(t, k, func(tr *Transcript) { tr.proof = nil })
	if s := older[0].Detail.Signature; s != "" {
		t.Errorf("the start is signed: %s", s)
	}
	var totals, want schema.Totals
	payload(t, older[len(older)-1].Detail.Signature, &totals)
	payload(t, whole[len(whole)-1].Detail.Signature, &want)
	want.OperationDigest, want.FieldsDigest, want.TimingDigest = "", "", ""
	if totals != want {
		t.Errorf("%+v", totals)
	}
	last := segmentOf(t, k)
	with, err := Resume(last, k, time.Now())
	if err != nil || with.proof == nil {
		t.Fatalf("the proof is not continued: %v", err)
	}
	for name, proof := range map[string][]byte{"none": nil, "of a later version": append([]byte{proofVersion + 1}, last.Resume.Proof[1:]...), "cut": last.Resume.Proof[:60], "longer": append(last.Resume.Proof, 0)} {
		segment := *last
		segment.Resume.Proof = proof
		if tr, err := Resume(&segment, k, time.Now()); err != nil || tr.proof != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// segmentOf returns a segment with the start of a session with a terminal and some output.
func segmentOf(t testing.TB, k *Key) *schema.Segment {
	t.Helper()
	op := *testOperation(t, k)
	op.Interactive, op.Width, op.Height = true, 80, 24
	s := &script{t: t}
	var err error
	if s.tr, err = New(&op, k, time.Now()); err != nil {
		t.Fatal(err)
	}
	start, err := schema.StartFrame(t0, &op)
	if err != nil {
		t.Fatal(err)
	}
	s.frame(start)
	s.show(schema.FrameStdout, "$ ls\r\n$ ")
	made, err := s.tr.Take()
	if err != nil {
		t.Fatal(err)
	}
	segment, err := s.d.Segment(made.Data)
	if err != nil {
		t.Fatal(err)
	}
	return segment
}

// TestProofIsNoTerminal: an enricher that does not know proofs takes one for a terminal state of a
// later version, which it ignores, and can read the segment.
func TestProofIsNoTerminal(t *testing.T) {
	last := segmentOf(t, testKey(t))
	if len(last.Resume.Proof) == 0 || len(last.Resume.Terminal) == 0 {
		t.Fatal("the segment has no proof, or no terminal")
	}
	operation, err := json.Marshal(last.Operation)
	if err != nil {
		t.Fatal(err)
	}
	data, err := schema.AppendSegment(nil, operation, last)
	if err != nil || data[0] > 2 {
		t.Errorf("the segment has version %d, which it cannot read: %v", data[0], err)
	}
	if _, ok := readState([]byte{0xff, 1, 2}); ok {
		t.Error("a proof is read as a terminal")
	}
	if _, ok := readState(last.Resume.Terminal); !ok {
		t.Error("the terminal is not read")
	}
}

// TestStartSignsTheOperation: the signature of a start has the whole operation.
func TestStartSignsTheOperation(t *testing.T) {
	var start schema.SignedOperation
	records := signedSession(t, exampleKey(t), func(*Transcript) {})
	payload(t, records[0].Detail.Signature, &start)
	want := map[string]string{
		"operation_id": "42", "stack": "default", "app": "web", "app_id": "17", "service": "web-cmd", "layer": "app", "host": "gateway-1",
		"container": "session-42", "operation_user_id": "u-1", "operation_user_name": "Ada Lovelace", "operation_user_email": "ada@example.com",
		"command": "bash -l", "started": string(schema.AppendTime(nil, t0.UnixNano())), "expires": string(schema.AppendTime(nil, t0.Add(time.Hour).UnixNano())),
		"user_document_sha256": start.Operation["user_document_sha256"],
	}
	if !maps.Equal(start.Operation, want) || len(want["user_document_sha256"]) != 64 {
		t.Errorf("%q", start.Operation)
	}
}

// TestCheckpoints: a checkpoint follows a number of records, or records that have waited for
// minutes, and it continues over a restart. It is no event of the session: nothing depends on it.
func TestCheckpoints(t *testing.T) {
	k := testKey(t)
	op := testOperation(t, k)
	s := &script{t: t}
	var err error
	if s.tr, err = New(op, k, time.Now()); err != nil {
		t.Fatal(err)
	}
	start, err := schema.StartFrame(t0, op)
	if err != nil {
		t.Fatal(err)
	}
	s.frame(start)
	var records []schema.Record
	take := func() { records = append(records, s.take()...) }
	restart := func() {
		t.Helper()
		operation, err := json.Marshal(op)
		if err != nil {
			t.Fatal(err)
		}
		var segment *schema.Segment
		for s.tr.Ready() {
			made, err := s.tr.Take()
			if err != nil {
				t.Fatal(err)
			}
			if segment, err = s.d.Segment(made.Data); err != nil {
				t.Fatal(err)
			}
			records = append(records, segment.Records...)
			if hasCheckpoint := made.Data[0] > 3; hasCheckpoint != strings.Contains(events(segment.Records), "checkpoint") {
				t.Errorf("a segment of %s has version %d", events(segment.Records), made.Data[0])
			}
			if _, err := schema.AppendSegment(nil, operation, segment); err != nil {
				t.Fatal(err)
			}
		}
		if s.tr, err = Resume(segment, k, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	s.tr.Expire(t0.Add(time.Hour)) // nothing but the start, which is signed
	s.tr.Expire(t0.Add(2 * time.Hour))
	s.show(schema.FrameStdout, strings.Repeat("x\n", checkpointRecords-400))
	restart()
	s.show(schema.FrameStdout, strings.Repeat("x\n", 700)+"unfinished")
	take()
	s.tr.Expire(t0.Add(3 * time.Hour)) // the line is cut
	s.tr.Expire(t0.Add(3*time.Hour + checkpointAge - 1))
	take()
	if got := events(records); got != "start output*5000 checkpoint output*301" {
		t.Errorf("%s", got)
	}
	s.tr.Expire(t0.Add(3*time.Hour + checkpointAge))
	s.tr.Expire(t0.Add(9 * time.Hour))
	restart()
	s.tr.Expire(t0.Add(12 * time.Hour))
	s.tr.Expire(t0.Add(15 * time.Hour))
	if s.tr.Ready() {
		t.Error("a checkpoint follows a checkpoint")
	}
	s.show(schema.FrameStdout, "y\n")
	s.end()
	take()
	if got := events(records); got != "start output*5000 checkpoint output*301 checkpoint output end" {
		t.Errorf("%s", got)
	}
	checkRecords(t, records)
	checkSigned(t, records)
	for i := range records {
		if r := &records[i]; r.Event == schema.EventCheckpoint && (r.Time != records[i-1].Time || string(r.Text) != "everything up to here is signed") {
			t.Errorf("%+v", r)
		}
	}
}

// events returns the events of records, with the number of equal ones: "start output*2 end".
func events(records []schema.Record) string {
	var list []string
	for i, n := 0, 1; i < len(records); i, n = i+n, 1 {
		for i+n < len(records) && records[i+n].Event == records[i].Event {
			n++
		}
		name := records[i].Event.String()
		if n > 1 {
			name += "*" + strconv.Itoa(n)
		}
		list = append(list, name)
	}
	return strings.Join(list, " ")
}
