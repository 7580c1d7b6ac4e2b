package config

import (
	"reflect"
	"slices"
	"time"

	"github.com/ttydrain/ttydrain/sinks/https"
)

// AgreementBAA is the agreement that a drain needs for the logs of a stack with PHI: a business
// associate agreement (45 CFR 164.504(e)).
const AgreementBAA = "baa"

// Drain is a destination of records. The settings of exactly one protocol are set: see
// [Drain.Protocol]. If Type is a preset, the preset's settings are set as well.
type Drain struct {
	Name string `yaml:"name" rule:"required" want:"a name such as siem"`
	// Type is one of the variants below.
	Type string `yaml:"type" rule:"required"`
	// Match selects the stacks and apps whose logs it receives.
	Match Match `yaml:"match" want:"a mapping with stacks or apps, such as {apps: [web]}"`

	// DrainEphemeralSessions determines whether it receives session logs. The other settings are
	// for the platform's other logs, which ttydrain does not handle.
	DrainEphemeralSessions bool `yaml:"drain_ephemeral_sessions"`
	DrainApps              bool `yaml:"drain_apps"`
	DrainDatabases         bool `yaml:"drain_databases"`
	DrainProxies           bool `yaml:"drain_proxies"`

	// Agreements are the agreements with the drain's operator.
	Agreements []string `yaml:"agreements" enum:"baa"`

	Batch Batch `yaml:"batch"`
	// Timeout limits one write of a batch.
	Timeout time.Duration `yaml:"timeout" max:"10m"`
	// ConnectionLifetime limits the use of a connection. The next connection resolves the host name
	// again.
	ConnectionLifetime time.Duration `yaml:"connection_lifetime" min:"1s" max:"24h"`

	// Settings of the protocols, by the names of their types.

	HTTPS         *HTTPS         `yaml:"-" variant:"https"`
	Elasticsearch *Elasticsearch `yaml:"-" variant:"elasticsearch"`
	Syslog        *Syslog        `yaml:"-" variant:"syslog"`
	File          *File          `yaml:"-" variant:"file"`

	// Settings of the presets, each of which stands for those of a protocol.

	Datadog    *Datadog    `yaml:"-" variant:"datadog"`
	SumoLogic  *SumoLogic  `yaml:"-" variant:"sumologic"`
	LogDNA     *LogDNA     `yaml:"-" variant:"logdna"`
	Papertrail *Papertrail `yaml:"-" variant:"papertrail"`
	SolarWinds *SolarWinds `yaml:"-" variant:"solarwinds"`
}

func (d *Drain) setDefaults() {
	d.DrainEphemeralSessions = true
	d.DrainApps = true
	d.DrainDatabases = true
	d.DrainProxies = true
	d.Timeout = 30 * time.Second
	d.ConnectionLifetime = 10 * time.Minute
}

// Match selects logs by stack and by app. A missing list selects all; otherwise the log must match
// both lists.
type Match struct {
	Stacks []string `yaml:"stacks" want:"a list of names of stacks"`
	Apps   []string `yaml:"apps" want:"a list of names of apps"`
}

// Batch limits a batch: the first limit that is reached ends it.
type Batch struct {
	Records int           `yaml:"records" min:"1" max:"100000"`
	Bytes   int64         `yaml:"bytes" as:"size" min:"1KB" max:"64MB"`
	Wait    time.Duration `yaml:"wait" max:"1m"`
}

func (b *Batch) setDefaults() {
	b.Records = 5000
	b.Bytes = 4 << 20
	b.Wait = 0
}

// TLS configures the trust and the identity of a client. The files are checked at load, and read
// again for connecting.
type TLS struct {
	// CAFile holds the PEM certificates to trust instead of the system's.
	CAFile string `yaml:"ca_file" as:"path"`
	// CertFile and KeyFile are the client's certificate and its private key; both or neither are
	// set.
	CertFile string `yaml:"cert_file" as:"path"`
	KeyFile  string `yaml:"key_file" as:"path"`
	// ServerName is checked against the server's certificate instead of the address's host.
	ServerName string `yaml:"server_name"`
	// FingerprintSHA256 is the fingerprint of the server's certificate, which then needs no
	// authority and no name; several are separated by commas.
	FingerprintSHA256 string `yaml:"fingerprint_sha256" want:"64 hexadecimal digits, as openssl x509 -noout -fingerprint -sha256 prints them"`
}

// Proxy is an HTTP or SOCKS proxy to a drain, instead of the one from the environment.
type Proxy struct {
	// None is set for the word "none" instead of the mapping: no proxy is used, regardless of the
	// environment.
	None bool `yaml:"-"`
	// URL may contain credentials: it is never printed.
	URL Secret `yaml:"url" rule:"required" as:"url" want:"a URL such as http://proxy.example.com:3128"`
	// CAFile holds the PEM certificates to trust for the proxy's certificate, if its URL begins
	// with https.
	CAFile string `yaml:"ca_file" as:"path"`
}

// setWord sets the proxy from the word that may replace the mapping.
func (p *Proxy) setWord(word string) bool {
	p.None = word == "none"
	return p.None
}

// HTTPS is a drain that receives records as JSON in POST requests.
type HTTPS struct {
	// URL is the target of requests, which must use TLS. It may contain credentials or a token: it
	// is never printed.
	URL         Secret            `yaml:"url" as:"url" rule:"required" want:"a URL that starts with https://, as a string, ${NAME} or file:PATH"`
	Format      string            `yaml:"format" enum:"json|ndjson|array"`
	Compression string            `yaml:"compression" enum:"none|gzip"`
	Headers     map[string]Secret `yaml:"headers" want:"a mapping of names to values, such as {Authorization: Bearer 123}"`
	// Username and Password are sent with basic authentication.
	Username string `yaml:"username"`
	Password Secret `yaml:"password"`
	// MaxRequestBytes limits the body of a request before compression.
	MaxRequestBytes int64 `yaml:"max_request_bytes" as:"size" min:"1KB" max:"64MB"`
	// Concurrency is the maximum number of requests in flight. Each has records of different
	// operations.
	Concurrency int    `yaml:"concurrency" min:"1" max:"64"`
	Proxy       *Proxy `yaml:"proxy" want:"none, or a mapping with the url of a proxy"`
	TLS         TLS    `yaml:",inline"`

	// The following fields are only set by presets: see https.Options.

	MaxRequestRecords, MaxRecordBytes int          `yaml:"-"`
	ArrayField                        string       `yaml:"-"`
	Shape                             *https.Shape `yaml:"-"`
}

func (h *HTTPS) setDefaults() {
	h.Format = "json"
	h.Compression = "none"
	h.Concurrency = 16
	h.MaxRequestBytes = 5 << 20
}

// Elasticsearch is a drain that receives records in bulk requests to a data stream.
type Elasticsearch struct {
	// URLs are never printed: a path can contain a token.
	URLs []Secret `yaml:"urls" as:"url" rule:"required" want:"a list of URLs, such as [https://127.0.0.1:9200]"`
	// Product is the kind of server; auto detects it.
	Product    string `yaml:"product" enum:"auto|elasticsearch|opensearch"`
	DataStream string `yaml:"data_stream" want:"a data stream such as logs-ssh-default"`
	// Pipeline is the name of an ingest pipeline, or "".
	Pipeline string `yaml:"pipeline"`
	// APIKey, in its encoded form or as ID:API_KEY, excludes Username with Password.
	APIKey      Secret `yaml:"api_key"`
	Username    string `yaml:"username"`
	Password    Secret `yaml:"password"`
	Compression string `yaml:"compression" enum:"none|gzip"`
	// MaxRequestBytes limits the body of a request before compression.
	MaxRequestBytes int64 `yaml:"max_request_bytes" as:"size" min:"1KB" max:"10MB"`
	// ManageTemplate makes the drain install the data stream's index template.
	ManageTemplate bool `yaml:"manage_template"`
	// Concurrency is the maximum number of requests in flight. Each has records of different
	// operations.
	Concurrency int    `yaml:"concurrency" min:"1" max:"64"`
	Proxy       *Proxy `yaml:"proxy" want:"none, or a mapping with the url of a proxy"`
	TLS         TLS    `yaml:",inline"`
}

func (e *Elasticsearch) setDefaults() {
	e.Product = "auto"
	e.DataStream = "logs-ssh-default"
	e.Compression = "none"
	e.MaxRequestBytes = 5 << 20
	e.ManageTemplate = true
	e.Concurrency = 4
}

// Syslog is a drain that receives RFC 5424 messages over TCP with TLS (RFC 5425), or over RELP with
// TLS.
type Syslog struct {
	Address string `yaml:"address" rule:"required" want:"a host and a port, such as logs.example.com:6514"`
	// Protocol is tcp for plain syslog, or relp, with which the server acknowledges each message.
	Protocol string `yaml:"protocol" enum:"tcp|relp"`
	Framing  string `yaml:"framing" enum:"octet-counting|newline"`
	// Token begins every message: one word of printable ASCII.
	Token Secret `yaml:"token"`
	// Exact adds the exact bytes and their timing to the structured data.
	Exact bool `yaml:"exact"`
	// MaxMessageBytes is the maximum length of a message without its frame. A longer record is sent
	// in parts. The default is below rsyslog's default limit (8 KiB).
	MaxMessageBytes int64 `yaml:"max_message_bytes" as:"size" min:"2KB" max:"128KB"`
	// ConnectionGrace is the time for which a connection must stay open after a write to prove that
	// a server is reading it.
	ConnectionGrace time.Duration `yaml:"connection_grace" min:"100ms" max:"5m"`
	// Facility is a keyword of RFC 5424 §6.2.1 as in syslog.conf. The default is local0, because
	// receivers have rules for the others.
	Facility string `yaml:"facility" enum:"kern|user|mail|daemon|auth|syslog|lpr|news|uucp|cron|authpriv|ftp|local0|local1|local2|local3|local4|local5|local6|local7"`
	TLS      TLS    `yaml:",inline"`

	// TokenEnterprise is only set by presets. See syslog.Options.
	TokenEnterprise int `yaml:"-"`
}

func (s *Syslog) setDefaults() {
	s.Protocol = "tcp"
	s.Framing = "octet-counting"
	s.MaxMessageBytes = 8000
	s.ConnectionGrace = 5 * time.Second
	s.Facility = "local0"
}

// settings are the settings of one type of drain.
type settings interface {
	// finish checks what the tags of the fields cannot express.
	finish(d *decoder, path string)
}

// preset holds the settings of a type that expands to another one with more settings.
type preset interface {
	settings
	// expand sets the settings of the other type.
	expand(dr *Drain)
}

// Protocol returns the type whose settings are set, which after [Load] is never a preset; "" for
// none.
func (d *Drain) Protocol() string {
	name, _ := d.settings()
	return name
}

// settings returns the type whose settings are set, and these; nil for none.
func (d *Drain) settings() (string, settings) {
	v := reflect.ValueOf(d).Elem()
	_, variants := fieldsOf(v.Type())
	for _, one := range variants { // the protocols come first
		if s := v.Field(one.index); !s.IsNil() {
			return one.name, s.Interface().(settings)
		}
	}
	return "", nil
}

// Matches reports whether the session logs of an app on a stack go to the drain. It does not
// consider PHI: see [Drain.CoversPHI].
func (d Drain) Matches(stack, app string) bool {
	return d.DrainEphemeralSessions &&
		(len(d.Match.Stacks) == 0 || slices.Contains(d.Match.Stacks, stack)) &&
		(len(d.Match.Apps) == 0 || slices.Contains(d.Match.Apps, app))
}

// CoversPHI reports whether the drain may receive protected health information.
//
// [Load] refuses a configuration in which a matching drain may not. A record can be older than the
// configuration, so a router still checks this for each operation with PHI.
func (d Drain) CoversPHI() bool { return slices.Contains(d.Agreements, AgreementBAA) }
