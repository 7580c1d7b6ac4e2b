package config

import (
	"regexp"
	"strings"
)

// Papertrail is a preset for a log destination of Papertrail that accepts connections by port.
type Papertrail struct {
	// Address is the address of the destination: the port identifies the account ("Log
	// Destinations").
	Address string `yaml:"address" rule:"required" want:"the address of the log destination, such as logs2.papertrailapp.com:12345"`
	// Exact adds the exact bytes and their timing to the structured data.
	Exact bool `yaml:"exact"`
	// MaxMessageBytes is that of [Syslog]; the default is the service's limit.
	MaxMessageBytes int64 `yaml:"max_message_bytes" as:"size" min:"2KB" max:"100000"`
	TLS             TLS   `yaml:",inline"`
}

// SolarWinds is a preset for the syslog collector of SolarWinds Observability.
type SolarWinds struct {
	// Token is an ingestion token.
	Token Secret `yaml:"token" rule:"required"`
	// Region is the account's data centre, as in its login URL: my.na-01.cloud.solarwinds.com.
	Region string `yaml:"region" want:"a data centre, such as na-01, eu-01 or ap-01"`
	// Address is the collector's address, instead of that of a region.
	Address string `yaml:"address" want:"a host and a port, such as syslog.collector.na-01.cloud.solarwinds.com:6514"`
	// Exact adds the exact bytes and their timing to the structured data.
	Exact bool `yaml:"exact"`
	// MaxMessageBytes is that of [Syslog]; the default is the service's limit.
	MaxMessageBytes int64 `yaml:"max_message_bytes" as:"size" min:"2KB" max:"100000"`
	TLS             TLS   `yaml:",inline"`
}

// papertrailMessage is from Papertrail's "Troubleshooting remote syslog reachability": "messages
// over TCP that are up to 100,000 bytes". (The same page states that a host name is truncated at
// 120 characters.)
const papertrailMessage = 100_000

func (p *Papertrail) setDefaults() { p.MaxMessageBytes = papertrailMessage }
func (p *SolarWinds) setDefaults() { p.MaxMessageBytes = papertrailMessage }

func (p *Papertrail) expand(dr *Drain) { dr.Syslog = p.syslog() }

func (p *Papertrail) finish(d *decoder, path string) {
	if d.usable(path + ".address") {
		d.checkAddress(path+".address", p.Address, false)
	}
	d.checkTLS(path, &p.TLS)
}

// syslog returns the expansion of the preset. Messages are separated by newlines, as in
// Papertrail's own sender, remote_syslog2; that it also accepts octet counting could not be
// verified.
func (p *Papertrail) syslog() *Syslog {
	s := &Syslog{Address: p.Address, Exact: p.Exact, TLS: p.TLS}
	s.setDefaults()
	s.Framing, s.MaxMessageBytes = "newline", p.MaxMessageBytes
	return s
}

var solarWindsRegion = regexp.MustCompile(`^[a-z]{2}-[0-9]{2}$`)

func (p *SolarWinds) expand(dr *Drain) { dr.Syslog = p.syslog() }

func (p *SolarWinds) finish(d *decoder, path string) {
	region, address := path+".region", path+".address"
	switch {
	case d.given(region) && d.given(address):
		d.refuse(codeExclusive, address, "is set together with region; expected only one of them")
	case !d.given(region) && !d.given(address):
		d.mistake(codeMissing, d.place(path), region, "is missing; expected a data centre, such as na-01, eu-01 or ap-01")
	}
	if d.usable(region) && !solarWindsRegion.MatchString(p.Region) {
		d.refuse(codeForm, region, "%s is not a data centre; expected one such as na-01, eu-01 or ap-01, as in the URL of the login", quote(p.Region))
	}
	if d.usable(address) {
		d.checkAddress(address, p.Address, false)
	}
	// It becomes the name of an element of structured data (RFC 5424 §6.3.2).
	if d.usable(path+".token") && strings.ContainsFunc(p.Token.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`=]"@`, r) }) {
		d.refuse(codeForm, path+".token", "has a character in it that no ingestion token has, such as a space; expected the token alone, without @ and a number")
	}
	d.checkTokenLength(path, p.Token, p.MaxMessageBytes)
	d.checkTLS(path, &p.TLS)
}

// syslog returns the expansion of the preset.
//
// "Send logs using syslog" (SolarWinds Observability) has the address and "Ingestion token in RFC
// 5424 structured data". That this is [TOKEN@41058], and that newlines separate the messages, is
// taken from rsyslog configurations in use, and could not be verified in the documentation. No
// limit for a message could be found: that of Papertrail is used, whose accounts SolarWinds
// Observability takes over.
func (p *SolarWinds) syslog() *Syslog {
	s := &Syslog{Address: p.Address, Exact: p.Exact, TLS: p.TLS, Token: p.Token, TokenEnterprise: 41058}
	if p.Region != "" {
		s.Address = "syslog.collector." + p.Region + ".cloud.solarwinds.com:6514"
	}
	s.setDefaults()
	s.Framing, s.MaxMessageBytes = "newline", p.MaxMessageBytes
	return s
}
