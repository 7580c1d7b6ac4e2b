package enrich

import (
	"fmt"

	"github.com/ttydrain/ttydrain/schema"
)

// EventText returns the text of an event's record: a sentence with all details that matter to a
// reader. The text is signed and the fields are not, so an audit compares the fields with it: the
// sentence for a detail never changes.
func EventText(e schema.Event, d *schema.Detail) []byte {
	return appendEventText(nil, e, d)
}

func appendEventText(dst []byte, e schema.Event, d *schema.Detail) []byte {
	text, _, _ := scanWith(dst, []byte(sentence(e, d)), ground, true, true)
	return text
}

// transferSentence describes the transfer of a file.
func transferSentence(d *schema.Detail) string {
	s := d.Direction + " of " + d.Path
	if d.Size != nil {
		s += fmt.Sprintf(", %d bytes", *d.Size)
	}
	if d.SHA256 != "" {
		s += " with the SHA-256 " + d.SHA256
	}
	if d.Reason != "" {
		s += ": " + d.Reason
	}
	return s
}
