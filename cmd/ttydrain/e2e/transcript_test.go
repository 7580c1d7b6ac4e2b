package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/receive"
)

// A record is a record as it arrived at a drain.
type record struct {
	receive.Record
	// Exact is the output; nil if the drain does not get the exact bytes.
	Exact []byte
	// TextDigest is only in the form for syslog.
	TextDigest string
	// Whole is the complete record as it arrived.
	Whole string
}

// A transcript is a session in the copy of a drain.
type transcript struct {
	records        []record // in order, each once
	shown          []byte   // of both streams
	stdout, stderr []byte
	end            record
}

func (s *transcript) events(name string) []record {
	return slices.DeleteFunc(slices.Clone(s.records), func(r record) bool { return r.Event != name })
}

// transcriptOf assembles a session from all records that arrived at a drain, and checks everything
// that a complete transcript must have. exact means that the drain gets the exact bytes.
func transcriptOf(t testing.TB, drain string, arrived []record, operation string, exact bool) *transcript {
	t.Helper()
	bySequence := make(map[uint64]record)
	for _, r := range arrived {
		if r.OperationID != operation {
			continue
		}
		if first, twice := bySequence[r.Sequence]; twice {
			if first.Whole != r.Whole {
				t.Errorf("drain %s: record %d came twice, with different content:\n%s\n%s", drain, r.Sequence, first.Whole, r.Whole)
			}
			continue
		}
		bySequence[r.Sequence] = r
	}
	var size int // of the output
	for _, r := range bySequence {
		size += len(r.Exact)
	}
	s := &transcript{shown: make([]byte, 0, size), stdout: make([]byte, 0, size)}
	digest, texts := sha256.New(), sha256.New()
	missing := uint64(0) // bytes, by gap records tell
	for sequence := uint64(1); sequence <= uint64(len(bySequence)); sequence++ {
		r, ok := bySequence[sequence]
		if !ok {
			t.Fatalf("drain %s: operation %s has %d records and no record %d", drain, operation, len(bySequence), sequence)
		}
		s.records = append(s.records, r)
		last := sequence == uint64(len(bySequence))
		if (r.Event == "start") != (sequence == 1) || (r.Event == "end") != last {
			t.Errorf("drain %s: record %d of %d is %q", drain, sequence, len(bySequence), r.Event)
		}
		for _, name := range []string{"address", "client", "method", "key"} { // in syslog, or in JSON
			if sequence == 1 && !strings.Contains(r.Whole, " origin_"+name+`="`) && !strings.Contains(r.Whole, `"origin_`+name+`":"`) {
				t.Errorf("drain %s: the start of operation %s has no origin_%s", drain, operation, name)
			}
		}
		texts.Write(append([]byte(r.Text), '\n'))
		if r.TextDigest != "" && r.TextDigest != hex.EncodeToString(texts.Sum(nil)) {
			t.Fatalf("drain %s: the texts up to record %d do not have its text digest:\n%s", drain, sequence, r.Whole)
		}
		if !exact {
			continue
		}
		if at := uint64(len(s.shown)) + missing; r.Offset != strconv.FormatUint(at, 10) {
			t.Fatalf("drain %s: operation %s: record %d is at offset %s, behind %d bytes", drain, operation, sequence, r.Offset, at)
		}
		if r.Event == "gap" && r.Record.Bytes != nil {
			missing += *r.Record.Bytes
		}
		s.shown = append(s.shown, r.Exact...)
		if r.Record.Stream == "stderr" {
			s.stderr = append(s.stderr, r.Exact...)
		} else {
			s.stdout = append(s.stdout, r.Exact...)
		}
		digest.Write(r.Exact)
		if got := hex.EncodeToString(digest.Sum(nil)); got != r.Digest {
			t.Fatalf("drain %s: the bytes up to record %d have the digest %s, and it says %s", drain, sequence, got, r.Digest)
		}
		if n := timed(t, r.Timing); n != len(r.Exact) {
			t.Errorf("drain %s: record %d has %d bytes and the times of %d: %q", drain, sequence, len(r.Exact), n, r.Timing)
		}
	}
	if len(s.records) == 0 {
		t.Fatalf("drain %s has nothing of operation %s", drain, operation)
	}
	s.end = s.records[len(s.records)-1]
	if s.end.Event != "end" || s.end.Record.Bytes == nil {
		t.Fatalf("drain %s: operation %s has no end", drain, operation)
	}
	totals := totalsOf(t, s.end.Signature)
	want := signedTotals{operation, s.end.Sequence, *s.end.Record.Bytes, s.end.Digest, hex.EncodeToString(texts.Sum(nil))}
	if totals != want {
		t.Errorf("drain %s: the signed totals are %+v, and the records add up to %+v", drain, totals, want)
	}
	if all := uint64(len(s.shown)) + missing; exact && *s.end.Record.Bytes != all {
		t.Errorf("drain %s: the end tells %d bytes, and there are %d", drain, *s.end.Record.Bytes, all)
	}
	return s
}

// timed returns the number of bytes in a record's timing.
func timed(t testing.TB, timing string) int {
	t.Helper()
	sum := 0
	for pair := range strings.FieldsSeq(timing) {
		_, bytes, _ := strings.Cut(pair, ":")
		n, err := strconv.Atoi(bytes)
		if err != nil || n < 1 {
			t.Fatalf("a timing of %q", timing)
		}
		sum += n
	}
	return sum
}

type signedTotals struct {
	Operation  string `json:"operation_id"`
	Sequence   uint64 `json:"sequence"`
	Bytes      uint64 `json:"bytes"`
	Digest     string `json:"digest"`
	TextDigest string `json:"text_digest"`
}

// totalsOf reads the totals that the signature of an end covers, without verifying it.
func totalsOf(t testing.TB, signature string) (totals signedTotals) {
	t.Helper()
	parts := strings.Split(signature, ".")
	if len(parts) != 3 {
		t.Fatalf("the end's signature is no JWS: %q", signature)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(payload, &totals); err != nil {
		t.Fatal(err)
	}
	return totals
}

// mustBe compares a copy's bytes with the output of the client.
func mustBe(t testing.TB, drain, what string, got, want []byte) {
	t.Helper()
	if sha256.Sum256(got) == sha256.Sum256(want) {
		return
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	t.Errorf("drain %s: %s is not what the client showed: %d bytes, want %d; from byte %d on %.60q, want %.60q",
		drain, what, len(got), len(want), at, got[at:], want[at:])
}

// contains reports whether the texts of a transcript have a line with the text.
func (s *transcript) contains(text string) bool {
	return slices.ContainsFunc(s.records, func(r record) bool { return bytes.Contains([]byte(r.Text), []byte(text)) })
}
