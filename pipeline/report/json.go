package report

import (
	"bytes"
	"encoding/json"
	"io"

	"github.com/ttydrain/ttydrain/schema"
)

// writeJSON writes a report as a JSON object, without its last brace.
func writeJSON(w io.Writer, r *Report) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(schema.AppendEscaped(nil, bytes.TrimSuffix(data, []byte("\n}"))))
	return err
}
