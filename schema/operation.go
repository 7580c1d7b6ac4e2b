package schema

import (
	"strings"
	"time"
)

// An Operation is one session's audit unit: who opened it, on what, and until when.
// It is written once, before the session starts, and never changes.
type Operation struct {
	// ID is a decimal number, unique over all gateways and growing; "" until it is recorded.
	ID string `json:"id"`

	Stack   string `json:"stack"`
	App     string `json:"app"`
	AppID   string `json:"app_id"`
	Service string `json:"service"`
	// Layer is the platform's word for what logged: "app" for every session.
	Layer string `json:"layer"`
	// Host is the gateway's host name, Container the name of the session's container or sandbox.
	Host      string `json:"host"`
	Container string `json:"container"`

	User User `json:"user"`
	// UserDocument is the expired JWT (RFC 7519) that says who the user is and opens nothing.
	UserDocument string `json:"user_document"`

	// Command is the command line that the user asked for, "" for the app's own command.
	Command     string `json:"command,omitempty"`
	Interactive bool   `json:"interactive"`
	// Width and Height are the terminal's size in cells at the start; 0 without a terminal.
	Width  int `json:"width,omitempty"`
	Height int `json:"height,omitempty"`

	Started time.Time `json:"started"`
	Expires time.Time `json:"expires"`
	// PHI says that the session may hold protected health information: only drains
	// whose agreements cover it may have its records.
	PHI bool `json:"phi,omitempty"`
}

// A User is the person behind an operation.
type User struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Email string `json:"email"`
}

// TestPrefix begins the ID of an operation whose one record was made to test a drain. What follows
// is unique.
const TestPrefix = "test-"

// IsTest says whether an operation's ID is that of a test of a drain, and of no session: there is
// no operation of it on any stream, no other record, and no signed end. It can be left out of what
// is audited.
func IsTest(operation string) bool { return strings.HasPrefix(operation, TestPrefix) }
