package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// Gateway configures the SSH server.
type Gateway struct {
	// Listen is a host and a port; port 0 selects any free one.
	Listen string `yaml:"listen" want:"a host and a port, such as 127.0.0.1:2222"`
	// HostKeys are files of private keys of different types. The gateway creates the first one if
	// it is missing.
	HostKeys []string `yaml:"host_key" as:"paths" want:"the path of a file, or a list of paths of different keys"`
	// AcceptEnv holds the names of environment variables that clients may set; "*" matches any
	// characters, "?" a single one (the syntax of path.Match without brackets).
	AcceptEnv []string `yaml:"accept_env"`
	// Banner selects the sessions that begin with the lines of the banner.
	Banner string `yaml:"banner" enum:"always|interactive|none"`
	// StopTimeout limits the time for sessions to end when the gateway stops.
	StopTimeout time.Duration `yaml:"stop_timeout" max:"1h"`
	// A client that is silent for KeepaliveInterval is sent a keepalive request; after
	// KeepaliveCount such intervals its connection is cut.
	KeepaliveInterval time.Duration `yaml:"keepalive_interval" min:"1s" max:"10m"`
	KeepaliveCount    int           `yaml:"keepalive_count" min:"2" max:"100"`

	// The limits have the names of sshd_config(5) if they exist there.

	// MaxStartups limits the connections that have not logged in: see Startups.
	MaxStartups string `yaml:"max_startups" as:"text" want:"BEGIN:PERCENT:FULL such as 10:30:100, or a number of connections"`
	// PerSourceMaxStartups limits those of one source; 0 means no separate limit.
	PerSourceMaxStartups int `yaml:"per_source_max_startups" min:"1" max:"100000"`
	// PerSourceNetBlockSize sets the number of leading bits of IPv4 and IPv6 addresses that
	// identify a source: see NetBlock.
	PerSourceNetBlockSize      string          `yaml:"per_source_net_block_size" as:"text" want:"IPV4BITS:IPV6BITS such as 32:64"`
	PerSourcePenalties         SourcePenalties `yaml:"per_source_penalties" want:"a mapping of penalties, such as {authfail: 5s}"`
	PerSourcePenaltyExemptList []string        `yaml:"per_source_penalty_exempt_list" want:"a list of addresses, such as 127.0.0.1 or 10.0.0.0/8"`
	LoginGraceTime             time.Duration   `yaml:"login_grace_time" min:"1s" max:"1h"`
	MaxAuthTries               int             `yaml:"max_auth_tries" min:"1" max:"100"`
	MaxSessions                int             `yaml:"max_sessions" min:"1" max:"1000"`
	MaxConnections             int             `yaml:"max_connections" min:"1" max:"100000"`
	MaxConnectionsPerUser      int             `yaml:"max_connections_per_user" min:"1" max:"100000"`
	MaxSessionsPerUser         int             `yaml:"max_sessions_per_user" min:"1" max:"100000"`
	UnusedConnectionTimeout    time.Duration   `yaml:"unused_connection_timeout" min:"1s" max:"168h"`

	// Startups, NetBlock and Exempt are the parsed values of MaxStartups, PerSourceNetBlockSize and
	// PerSourcePenaltyExemptList.
	Startups Startups       `yaml:"-"`
	NetBlock NetBlock       `yaml:"-"`
	Exempt   []netip.Prefix `yaml:"-"`
}

// Startups is the number of connections from which on a part of further ones is refused, the
// initial percentage of that part, and the number from which on all are refused.
type Startups struct{ Begin, Percent, Full int }

// NetBlock holds the numbers of significant leading bits of IPv4 and IPv6 addresses.
type NetBlock struct{ IPv4, IPv6 int }

// SourcePenalties are the penalties that accumulate for a source, like PerSourcePenalties in
// sshd_config(5).
type SourcePenalties struct {
	Enabled       bool          `yaml:"enabled"`
	Crash         time.Duration `yaml:"crash" max:"168h"`
	AuthFail      time.Duration `yaml:"authfail" max:"168h"`
	NoAuth        time.Duration `yaml:"noauth" max:"168h"`
	GraceExceeded time.Duration `yaml:"grace_exceeded" max:"168h"`
	Max           time.Duration `yaml:"max" max:"168h"`
	Min           time.Duration `yaml:"min" max:"168h"`
	MaxSources4   int           `yaml:"max_sources4" min:"1" max:"500000"`
	MaxSources6   int           `yaml:"max_sources6" min:"1" max:"500000"`
}

func (p *SourcePenalties) setDefaults() {
	*p = SourcePenalties{
		Enabled: true, Crash: 90 * time.Second, AuthFail: 5 * time.Second, NoAuth: time.Second, GraceExceeded: 10 * time.Second,
		Max: 10 * time.Minute, Min: 15 * time.Second, MaxSources4: 65536, MaxSources6: 65536,
	}
}

func (g *Gateway) setDefaults() {
	g.Listen = "127.0.0.1:2222"
	g.HostKeys = []string{"host_key"}
	g.AcceptEnv = []string{"LANG", "LC_*"}
	g.Banner = "interactive"
	g.StopTimeout = 10 * time.Second
	g.KeepaliveInterval = 15 * time.Second
	g.KeepaliveCount = 4
	g.MaxStartups = "10:30:100"
	g.PerSourceNetBlockSize = "32:64"
	g.LoginGraceTime = 2 * time.Minute
	g.MaxAuthTries = 6
	g.MaxSessions = 10
	g.MaxConnections = 4096
	g.MaxConnectionsPerUser = 256
	g.MaxSessionsPerUser = 512
	g.UnusedConnectionTimeout = 10 * time.Minute
}

// finishHostKeys checks the existing host keys. Clients can use only one of each type.
func (g *Gateway) finishHostKeys(d *decoder) {
	const at = "gateway.host_key"
	d.notEmpty(at, len(g.HostKeys))
	types := make(map[string]string) // file by type
	for i, file := range g.HostKeys {
		path := at
		if element := fmt.Sprintf("%s[%d]", at, i); d.given(element) {
			path = element
		}
		kind, missing := d.checkHostKey(path, file)
		switch {
		case missing && i > 0:
			d.refuse(codePrivateKey, path, "the file %s is missing; expected a private key as ssh-keygen writes it: only the first of several is created", quote(file))
		case kind != "" && types[kind] != "":
			d.refuse(codePrivateKey, path, "the file %s holds a key of type %s, as %s does; expected one key of each type", quote(file), kind, quote(types[kind]))
		case kind != "":
			types[kind] = file
		case missing:
			types[ssh.KeyAlgoED25519] = file // the type that is created
		}
	}
}

// finishLimits checks the limits of the gateway, and parses those with a special syntax.
func (g *Gateway) finishLimits(d *decoder) {
	var err error
	if g.Startups, err = parseStartups(g.MaxStartups); err != nil && g.MaxStartups != "" {
		d.refuse(codeNumber, "gateway.max_startups", "%s %v", quote(g.MaxStartups), err)
	}
	if g.NetBlock, err = parseNetBlock(g.PerSourceNetBlockSize); err != nil && g.PerSourceNetBlockSize != "" {
		d.refuse(codeNumber, "gateway.per_source_net_block_size", "%s %v", quote(g.PerSourceNetBlockSize), err)
	}
	for i, text := range g.PerSourcePenaltyExemptList {
		if path := fmt.Sprintf("gateway.per_source_penalty_exempt_list[%d]", i); d.usable(path) {
			prefix, err := parsePrefix(text)
			if err != nil {
				d.refuse(codeAddress, path, "%s is not an address; expected one such as 127.0.0.1 or 10.0.0.0/8", quote(text))
			}
			g.Exempt = append(g.Exempt, prefix)
		}
	}
	const penalties = "gateway.per_source_penalties"
	if p := &g.PerSourcePenalties; p.Min > p.Max && (d.usable(penalties+".min") || d.usable(penalties+".max")) {
		at := penalties + ".min"
		if !d.usable(at) {
			at = penalties + ".max"
		}
		d.refuse(codeRange, at, "min is %s, and max is %s; expected min to be at most max", p.Min, p.Max)
	}
}

// parseStartups parses a limit in the syntax of MaxStartups in sshd_config(5).
func parseStartups(text string) (s Startups, err error) {
	const most = 100_000
	if n, err := strconv.Atoi(text); err == nil && n >= 1 && n <= most {
		return Startups{n, 100, n}, nil
	}
	numbers, err := colonNumbers(text, 3)
	if err != nil {
		return s, errors.New("is not valid; expected BEGIN:PERCENT:FULL such as 10:30:100, or a number of connections")
	}
	s = Startups{numbers[0], numbers[1], numbers[2]}
	switch {
	case s.Begin < 1 || s.Full > most:
		return s, fmt.Errorf("is out of range; expected numbers of connections from 1 to %d", most)
	case s.Percent < 1 || s.Percent > 100:
		return s, errors.New("has a second number that is not a percentage; expected one from 1 to 100")
	case s.Begin > s.Full:
		return s, errors.New("begins above its last number; expected the first to be at most the last")
	}
	return s, nil
}

// parseNetBlock parses a size in the syntax of PerSourceNetBlockSize in sshd_config(5).
func parseNetBlock(text string) (NetBlock, error) {
	numbers, err := colonNumbers(text, 2)
	if err != nil || numbers[0] > 32 || numbers[1] > 128 {
		return NetBlock{}, errors.New("is not valid; expected IPV4BITS:IPV6BITS, up to 32:128, such as 32:64")
	}
	return NetBlock{numbers[0], numbers[1]}, nil
}

// colonNumbers parses n whole numbers separated by colons.
func colonNumbers(text string, n int) ([]int, error) {
	parts := strings.Split(text, ":")
	if len(parts) != n {
		return nil, fmt.Errorf("has %d parts", len(parts))
	}
	numbers := make([]int, n)
	for i, part := range parts {
		number, err := strconv.ParseUint(part, 10, 31)
		if err != nil {
			return nil, err
		}
		numbers[i] = int(number)
	}
	return numbers, nil
}
