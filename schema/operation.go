package schema

import (
	"strings"
	"time"
)

// Operation is the unit of audit: who opened one session, where, and until when. It is written
// once, before the session starts, and never changes.
type Operation struct {
	// ID is a decimal number, unique over all gateways and increasing; "" before the operation is
	// stored.
	ID string `json:"id"`

	Stack   string `json:"stack"`
	App     string `json:"app"`
	AppID   string `json:"app_id"`
	Service string `json:"service"`
	// Layer is the platform's name for the kind of log source: "app" for every session.
	Layer string `json:"layer"`
	// Host is the gateway's host name, Container the name of the session's container or sandbox.
	Host      string `json:"host"`
	Container string `json:"container"`

	User User `json:"user"`
	// UserDocument is the expired JWT (RFC 7519) that identifies the user and authorizes nothing.
	UserDocument string `json:"user_document"`

	// Command is the command line that the user requested; "" for the app's own command.
	Command     string `json:"command,omitempty"`
	Interactive bool   `json:"interactive"`
	Origin
	// Width and Height are the size of the terminal in cells at the start; 0 without a terminal.
	Width  int `json:"width,omitempty"`
	Height int `json:"height,omitempty"`

	Started time.Time `json:"started"`
	Expires time.Time `json:"expires"`
	// PHI reports that the session may hold protected health information. Its records go only to
	// drains with the agreement.
	PHI bool `json:"phi,omitempty"`
}

// Origin describes where a session came from, and how its user logged in. Each field is "" if it is
// unknown.
type Origin struct {
	// Address is the IP address of the SSH client, or of the last proxy before the gateway.
	Address string `json:"origin_address,omitempty"`
	// Client is the version that the client sent (RFC 4253 §4.2), in printable ASCII. A client can
	// send any.
	Client string `json:"origin_client,omitempty"`
	// Method is one of the methods below.
	Method string `json:"origin_method,omitempty"`
	// Key is the fingerprint of the user's key, as "SHA256:" and its base64.
	Key string `json:"origin_key,omitempty"`
	// Serial is the serial number of the certificate, in decimal, and CA the fingerprint of the key
	// that signed it. Both are only set for certificates.
	Serial string `json:"origin_serial,omitempty"`
	CA     string `json:"origin_ca,omitempty"`
}

// Methods of logging in. With a token, the session has presented an access token, too.
const (
	MethodKey              = "key"
	MethodKeyToken         = "key+token"
	MethodCertificate      = "certificate"
	MethodCertificateToken = "certificate+token"
)

// Each calls do with the name and the place of each field, in the order of the names, which are
// those in a record.
func (o *Origin) Each(do func(name string, value *string)) {
	do("origin_address", &o.Address)
	do("origin_ca", &o.CA)
	do("origin_client", &o.Client)
	do("origin_key", &o.Key)
	do("origin_method", &o.Method)
	do("origin_serial", &o.Serial)
}

// OriginOf returns the origin in fields by the names in a record.
func OriginOf(fields map[string]string) (o Origin) {
	o.Each(func(name string, value *string) { *value = fields[name] })
	return o
}

// User is the person who opened a session.
type User struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Email string `json:"email"`
}

// TestPrefix begins the ID of an operation that exists only to test a drain, with a single record.
// A unique suffix follows.
const TestPrefix = "test-"

// IsTest reports whether an operation's ID is that of a drain test instead of a session. Such an
// operation is on no stream, and has one record and no signed end, so audits can skip it.
func IsTest(operation string) bool { return strings.HasPrefix(operation, TestPrefix) }
