package syslog

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/RackSec/srslog"

	"github.com/ttydrain/ttydrain/sinks"
)

// Options are the settings of a drain of type syslog.
type Options struct {
	// Address is host:port of the server. The port of syslog over TLS is 6514 (RFC 5425 §4.1).
	Address string
	// TLS holds the TLS settings; the server must use TLS. The files are read again for each
	// connection.
	TLS sinks.TLS
	// Protocol is the protocol that carries the messages.
	Protocol Protocol
	// Framing separates the messages. RELP has its own.
	Framing Framing
	// Token is one word of printable ASCII at the beginning of every message, for hosted services
	// that require it. It is a secret.
	Token string
	// TokenEnterprise is the private enterprise number of a service that expects the token as
	// structured data: the first element of each message is [TOKEN@NUMBER] then, and the text does
	// not begin with the token. 0 for none. Such tokens are longer than RFC 5424 §6.3.2 allows for
	// the name of an element.
	TokenEnterprise int
	// MaxMessageBytes is the maximum length of a message without its framing, from
	// MinMaxMessageBytes to MaxMaxMessageBytes; DefaultMaxMessageBytes when 0. A record that needs
	// more is sent in parts. A record whose parts would not fit either has the verdict TooLarge;
	// only a token or an operation's ID that is longer than those of ttydrain can cause that.
	MaxMessageBytes int
	// Exact adds the exact bytes (base64) and their timing to the structured data.
	Exact bool
	// Facility and Severity are the names of RFC 5424 §6.2.1 as syslog.conf spells them; "local0"
	// and "info" when empty. A gap has at least the severity "warning".
	Facility, Severity string
	// Timeout bounds connecting, and the time in which a Write makes no progress, since the drain's
	// kernel acknowledges nothing. 30 seconds when 0.
	Timeout time.Duration
	// ConnectionGrace is the time that a connection has to stay open after the last byte sent on
	// it, which proves that the server reads it; 5 seconds when 0. Batches that were delivered on a
	// connection that ended earlier are resent.
	ConnectionGrace time.Duration
	// ConnectionLifetime bounds the use of a connection: see [sinks.JitteredLifetime].
	ConnectionLifetime time.Duration
}

// Open implements [sinks.Opener].
func (o Options) Open() (sinks.Sink, error) { return New(o) }

// Limits implements [sinks.Opener]. There is one Write at a time, since the messages of a
// connection are numbered.
func (o Options) Limits() sinks.Limits { return sinks.Limits{Unconfirmed: o.Protocol != RELP} }

// Protocol is a protocol that carries messages.
type Protocol uint8

const (
	// TCP is plain syslog over TLS (RFC 5425, RFC 6587), which has no acknowledgement.
	TCP Protocol = iota
	// RELP is the Reliable Event Logging Protocol over TLS: the server acknowledges each message.
	RELP
)

// Framing is a way to separate messages on a connection.
type Framing uint8

const (
	// OctetCounting puts the length before each message (RFC 6587 §3.4.1, RFC 5425 §4.3).
	OctetCounting Framing = iota
	// Newline ends each message with a newline (RFC 6587 §3.4.2), for servers that know no other
	// framing.
	Newline
)

const (
	defaultTimeout = 30 * time.Second
	// defaultGrace is longer than a healthy server takes to read, and than most load balancers take
	// to abandon a server that refuses connections.
	defaultGrace = 5 * time.Second
)

const (
	// DefaultMaxMessageBytes is below the defaults of rsyslog (8 KiB, maxMessageSize) and syslog-ng
	// (64 KiB, log-msg-size).
	DefaultMaxMessageBytes = 8000
	// MinMaxMessageBytes is the length that every receiver should accept (RFC 5424 §6.1). The
	// header and what each part repeats need up to 1.5 KiB.
	MinMaxMessageBytes = 2048
	// MaxMaxMessageBytes is below the 200,000 bytes from which on rsyslog rejects a frame.
	MaxMaxMessageBytes = 128 << 10
)

// facilities and severities have the names at the index of their code; "" where there is no name.
var (
	facilities = [...]string{"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron",
		"authpriv", "ftp", "", "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"}
	severities = [...]string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}
)

// Check returns every mistake in the options, without reading the TLS files; nil if there is none.
func (o Options) Check() error {
	var wrong []error
	host, port, err := net.SplitHostPort(o.Address)
	switch n, numeric := strconv.ParseUint(port, 10, 16); {
	case err != nil || host == "":
		wrong = append(wrong, fmt.Errorf("address %q is not host:port, such as logs.example.com:6514", o.Address))
	case numeric != nil || n == 0:
		wrong = append(wrong, fmt.Errorf("address %q: the port must be a number from 1 to 65535", o.Address))
	}
	if o.Framing > Newline {
		wrong = append(wrong, fmt.Errorf("framing %d is not known", o.Framing))
	}
	if o.Protocol > RELP {
		wrong = append(wrong, fmt.Errorf("protocol %d is not known", o.Protocol))
	}
	if o.Protocol == RELP && o.Framing != OctetCounting {
		wrong = append(wrong, errors.New("framing is for TCP: RELP has its own"))
	}
	for i := range len(o.Token) {
		if c := o.Token[i]; c <= ' ' || c > '~' {
			wrong = append(wrong, errors.New("token must be one word of printable ASCII characters without spaces"))
			break
		}
	}
	switch {
	case o.TokenEnterprise < 0:
		wrong = append(wrong, fmt.Errorf("token enterprise number %d is negative", o.TokenEnterprise))
	case o.TokenEnterprise > 0 && o.Token == "":
		wrong = append(wrong, errors.New("token is missing: it is a part of each message's structured data"))
	case o.TokenEnterprise > 0 && strings.ContainsAny(o.Token, `=]"@`):
		wrong = append(wrong, errors.New(`token has one of = ] " @ in it, which structured data cannot have in a name`))
	}
	limit := cmp.Or(o.MaxMessageBytes, DefaultMaxMessageBytes)
	if limit < MinMaxMessageBytes || limit > MaxMaxMessageBytes {
		wrong = append(wrong, fmt.Errorf("max message bytes %d is not from %d to %d", limit, MinMaxMessageBytes, MaxMaxMessageBytes))
	}
	if most := limit / 8; len(o.Token) > most {
		wrong = append(wrong, fmt.Errorf("token has %d bytes; expected at most %d, an eighth of max message bytes", len(o.Token), most))
	}
	if _, err := code("facility", facilities[:], o.Facility, "local0"); err != nil {
		wrong = append(wrong, err)
	}
	if _, err := code("severity", severities[:], o.Severity, "info"); err != nil {
		wrong = append(wrong, err)
	}
	if o.ConnectionLifetime < 0 {
		wrong = append(wrong, fmt.Errorf("connection lifetime %v is negative", o.ConnectionLifetime))
	}
	if o.ConnectionGrace < 0 {
		wrong = append(wrong, fmt.Errorf("connection grace %v is negative", o.ConnectionGrace))
	}
	if o.Timeout < 0 {
		wrong = append(wrong, fmt.Errorf("timeout %v is negative", o.Timeout))
	}
	return errors.Join(wrong...)
}

// priority returns the PRI of all messages but gaps. The options are checked.
func (o Options) priority() srslog.Priority {
	facility, _ := code("facility", facilities[:], o.Facility, "local0")
	severity, _ := code("severity", severities[:], o.Severity, "info")
	return srslog.Priority(facility<<3 | severity)
}

// code returns the index of name among names, where "" means the default.
func code(setting string, names []string, name, byDefault string) (int, error) {
	if name == "" {
		name = byDefault
	}
	for i, n := range names {
		if n == name {
			return i, nil
		}
	}
	var known []string
	for _, n := range names {
		if n != "" {
			known = append(known, n)
		}
	}
	return 0, fmt.Errorf("%s %q is not one of %s", setting, name, strings.Join(known, ", "))
}
