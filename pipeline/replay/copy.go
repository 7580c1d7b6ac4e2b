package replay

import (
	"context"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// Copy is the data that one drain has received.
type Copy interface {
	// Read passes everything in the copy to v until ctx is done or v returns an error, which Read
	// returns. Standard input, and a Stream with Follow, can be read only once.
	Read(ctx context.Context, v Visitor) error
	// Grouped reports whether the records are sorted by operation and sequence.
	Grouped() bool
}

// Visitor receives the contents of a copy. Its functions are called from a single goroutine.
type Visitor struct {
	// Record receives each record and owns it.
	Record func(*Record) error
	// Broken receives data that looks like a record but cannot be read; may be nil.
	Broken func(Broken)
	// Other is called for each item that is not from ttydrain, such as a line of another program or
	// an unrelated document; may be nil.
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

// Progress is called with the amount of a copy that has been read and its total, in bytes of files,
// records of an index, or messages of the stream. total is 0 if it is not known.
type Progress func(done, total int64)

func (p Progress) report(done, total int64) {
	if p != nil {
		p(done, total)
	}
}

// Selection selects sessions. Empty fields match all sessions.
type Selection struct {
	Operation string
	App       string
	// Stack is a name, which syslog does not have.
	Stack string
	// User matches a user's ID (which syslog does not have), e-mail address or name.
	User string
	// Since excludes sessions that started earlier, and Until those that did not.
	Since, Until time.Time
}

// Matches reports whether the operation of a record matches, as far as the record shows. It does
// not check the times.
func (s *Selection) Matches(op *schema.Operation) bool {
	return (s.Operation == "" || s.Operation == op.ID) && (s.App == "" || s.App == op.App) && (s.Stack == "" || s.Stack == op.Stack) &&
		(s.User == "" || s.User == op.User.ID || strings.EqualFold(s.User, op.User.Email) || s.User == op.User.Name)
}
