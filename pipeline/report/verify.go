package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/ttydrain/ttydrain/pipeline/audit"
	"github.com/ttydrain/ttydrain/pipeline/identity"
	"github.com/ttydrain/ttydrain/schema"
)

// Claim holds the claims in the signature of a report.
type Claim struct {
	Format string `json:"format"`
	// SHA256 is the digest of the file without the signature, in hexadecimal.
	SHA256     string        `json:"report_sha256"`
	Made       string        `json:"made_at"` // RFC 3339
	Program    string        `json:"version"`
	Commit     string        `json:"commit,omitempty"`
	Parameters Parameters    `json:"parameters"`
	Inputs     []Input       `json:"inputs"`
	Verdict    audit.Verdict `json:"verdict"`
	Sessions   int           `json:"sessions"`
	Intact     int           `json:"intact"`
	Damaged    int           `json:"damaged"`
	Incomplete int           `json:"incomplete"`
}

var (
	// ErrUnsigned is returned for a report that was made without a signature.
	ErrUnsigned = errors.New("the report was made without a signature: nothing proves it")
	// ErrNoReport is returned for a file without the place of a signature.
	ErrNoReport = errors.New("the file has no signature at its end: it is not a report of ttydrain, or it was changed")
	// ErrChanged is returned for a report that is not as it was signed.
	ErrChanged = errors.New("the report was changed after it was signed")
)

// Verify verifies the signature of a report in any format, and returns its claims and the ID of the
// key.
func Verify(file []byte, keys *identity.KeySet) (c *Claim, key string, err error) {
	format, start, end := findSignature(file)
	if format == "" {
		return nil, "", ErrNoReport
	}
	signature := string(file[start:end])
	if signature == "" {
		return nil, "", ErrUnsigned
	}
	typ, payload, err := keys.Verify(signature)
	if err != nil {
		return nil, "", fmt.Errorf("the signature of the report: %w", err)
	}
	c = new(Claim)
	if typ != schema.SignedReport || json.Unmarshal(payload, c) != nil {
		return nil, "", errors.New("the signature of the report: it signs something else")
	}
	sum := sha256.New()
	sum.Write(file[:start])
	sum.Write(file[end:])
	if c.Format != format || c.SHA256 != hex.EncodeToString(sum.Sum(nil)) {
		return nil, "", ErrChanged
	}
	return c, identity.SignedBy(signature), nil
}

// slot is the place of the signature in a format: after the text before, and followed by the text
// after, with which the file ends.
type slot struct{ before, after string }

func slots() map[string]slot {
	return map[string]slot{
		HTML: {"<p id=\"signature\">", "</p>\n</footer>\n</body>\n</html>\n"},
		CSV:  {rowSignature + strings.Repeat(",", len(columns())-1), "\r\n"},
		JSON: {",\n  \"signature\": \"", "\"\n}\n"},
	}
}

// findSignature returns the format of a report, and where its signature starts and ends; "" if it
// has no place for one.
func findSignature(file []byte) (format string, start, end int) {
	for format, slot := range slots() {
		rest, ok := bytes.CutSuffix(file, []byte(slot.after))
		if !ok {
			continue
		}
		before := bytes.TrimRight(rest, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
		if bytes.HasSuffix(before, []byte(slot.before)) {
			return format, len(before), len(rest)
		}
	}
	return "", 0, 0
}
