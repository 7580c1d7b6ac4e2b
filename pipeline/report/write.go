package report

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// Formats of a report.
const (
	HTML = "html"
	CSV  = "csv"
	JSON = "json"
)

// Sign signs an object with a type of package schema, as a compact JWS.
type Sign func(typ string, object any) (string, error)

// Write writes a report in a format. It sets the zone of all times of the report to that of
// r.Made.At. The report is signed if r.Made.Signed is set.
func Write(w io.Writer, format string, r *Report, sign Sign) error {
	write, ok := map[string]func(io.Writer, *Report) error{HTML: writeHTML, CSV: writeCSV, JSON: writeJSON}[format]
	if !ok {
		return fmt.Errorf("report: the format %q is not known", format)
	}
	r.localize(r.Made.At.Location())
	slot := slots()[format]
	out := &digester{to: bufio.NewWriterSize(w, 64<<10), sum: sha256.New()}
	if err := write(out, r); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if _, err := io.WriteString(out, slot.before); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	out.sum.Write([]byte(slot.after)) // a hash does not fail
	signature := ""
	if r.Made.Signed {
		var err error
		if signature, err = sign(schema.SignedReport, newClaim(format, r, out.sum)); err != nil {
			return fmt.Errorf("sign the report: %w", err)
		}
	}
	if _, err := out.to.WriteString(signature + slot.after); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if err := out.to.Flush(); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// digester forwards writes, and computes their digest.
type digester struct {
	to  *bufio.Writer
	sum hash.Hash
}

// Write implements [io.Writer].
func (d *digester) Write(p []byte) (int, error) {
	d.sum.Write(p)
	return d.to.Write(p)
}

// newClaim returns the claims for a report.
func newClaim(format string, r *Report, sum hash.Hash) Claim {
	return Claim{
		Format: format, SHA256: hex.EncodeToString(sum.Sum(nil)), Made: r.Made.At.Format(time.RFC3339), Program: r.Made.Program, Commit: r.Made.Commit,
		Parameters: r.Parameters, Inputs: r.Inputs, Verdict: r.Verdict,
		Sessions: r.Totals.Sessions, Intact: r.Totals.Intact, Damaged: r.Totals.Damaged, Incomplete: r.Totals.Incomplete,
	}
}
