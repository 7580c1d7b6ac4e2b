package replay

import (
	"context"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// A Copy is what one drain has.
type Copy interface {
	// Read gives all that is in the copy to v, one after another, until ctx is done or v returns an
	// error, which it returns. A copy of standard input, and a Stream that is followed, can be read
	// once.
	Read(ctx context.Context, v Visitor) error
	// Grouped says that the records of each operation come together, in the order of their sequence.
	Grouped() bool
}

// A Visitor gets what is in a copy. The functions are called from one goroutine.
type Visitor struct {
	// Record gets a record, which is its own.
	Record func(*Record) error
	// Broken gets what looks like a record and can't be read; nil for not.
	Broken func(Broken)
	// Other is told of something that is not ttydrain's: a line of another program, another document;
	// nil for not.
	Other func()
}

func (v *Visitor) broken(b Broken) {
	if v.Broken != nil {
		v.Broken(b)
	}
}

func (v *Visitor) other() {
	if v.Other != nil {
		v.Other()
	}
}

// Progress is told how much of a copy was read, and of how much: bytes of files, records of an
// index, messages of the stream. total is 0 where nobody knows.
type Progress func(done, total int64)

func (p Progress) tell(done, total int64) {
	if p != nil {
		p(done, total)
	}
}

// A Selection selects sessions. Where a field is empty, it selects any.
type Selection struct {
	Operation string
	App       string
	// User is an ID (which syslog does not have), an e-mail address or a name.
	User string
	// Since leaves out sessions that began before.
	Since time.Time
}

// Takes says whether a record with this operation may be one of a session that is selected.
func (s *Selection) Takes(op *schema.Operation) bool {
	return (s.Operation == "" || s.Operation == op.ID) && (s.App == "" || s.App == op.App) &&
		(s.User == "" || s.User == op.User.ID || strings.EqualFold(s.User, op.User.Email) || s.User == op.User.Name)
}
