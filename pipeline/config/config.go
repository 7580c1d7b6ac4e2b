package config

import (
	"slices"
	"time"

	"golang.org/x/crypto/ssh"
)

// sessionDurationLimit is the maximum of a stack's session_duration, as in the tag of
// [Stack.SessionDuration].
const sessionDurationLimit = 7 * 24 * time.Hour

// Config is the complete, checked configuration, with defaults.
type Config struct {
	// Store is the folder of the embedded NATS server's files; "" if NATS is set.
	Store string `yaml:"store" as:"path" want:"a folder for the embedded server's files, such as ./data"`
	// NATS is the cluster to use instead of the embedded server, or nil.
	NATS *NATS `yaml:"nats"`
	// SyncInterval is the interval at which the embedded server syncs its files to disk; with 0 it
	// syncs before it acknowledges or returns data.
	SyncInterval time.Duration `yaml:"sync_interval" as:"interval"`

	Streams      Streams      `yaml:"streams"`
	Gateway      Gateway      `yaml:"gateway"`
	Sandbox      Sandbox      `yaml:"sandbox"`
	Admin        Admin        `yaml:"admin"`
	UserDocument UserDocument `yaml:"user_document" rule:"required" want:"a mapping with the issuer"`
	// APIURL is the URL of the platform's API, the prefix of the hrefs in sessions' environments;
	// "" for no hrefs.
	APIURL string `yaml:"api_url" want:"a URL such as https://api.example.com"`
	// AccessToken describes the access tokens that users may, or must, send; nil for none.
	AccessToken *AccessToken `yaml:"access_token"`
	// UserCA are the CAs whose SSH certificates identify users. At least one of UserCA and Users is
	// set.
	UserCA []UserCA `yaml:"user_ca" want:"a list of user CAs"`
	Users  []User   `yaml:"users" want:"a list of users"`
	Stacks []Stack  `yaml:"stacks" rule:"required" want:"a list of stacks"`
	Apps   []App    `yaml:"apps" rule:"required" want:"a list of apps"`
	Drains []Drain  `yaml:"drains" want:"a list of drains"`
	// Docker is the daemon for apps with the docker runtime.
	Docker Docker `yaml:"docker"`
	Log    Log    `yaml:"log"`
	// InsecureFilePermissions determines the effect of files with secrets that others than their
	// owner can read: the configuration is refused, or accepted with a warning.
	InsecureFilePermissions string `yaml:"insecure_file_permissions" enum:"refuse|warn"`
	// Tracing is the destination of traces, or nil for none.
	Tracing *Tracing `yaml:"tracing"`

	byKey   map[string]int // index in Users, by the wire form of a public key
	private []PrivateFile  // this file first

	warnings Mistakes

	// For Place.
	file   string
	places map[string]place
}

func (c *Config) setDefaults() { c.Store, c.InsecureFilePermissions = "data", permissionsRefuse }

// NATS is an external JetStream cluster.
type NATS struct {
	// URL holds one or more URLs (nats, tls, ws, wss), separated by commas, without credentials.
	URL      string `yaml:"url" rule:"required" want:"a URL such as nats://127.0.0.1:4222"`
	Replicas int    `yaml:"replicas" min:"1" max:"5"`
	// CredentialsFile is a file of NATS credentials (a JWT and an NKey seed). It excludes
	// NKeySeedFile, Token, and Username with Password, and vice versa.
	CredentialsFile string `yaml:"credentials_file" as:"path"`
	// NKeySeedFile is a file with the seed of a user's NKey.
	NKeySeedFile string `yaml:"nkey_seed_file" as:"path"`
	Username     string `yaml:"username"`
	Password     Secret `yaml:"password"`
	Token        Secret `yaml:"token"`
	TLS          TLS    `yaml:",inline"`
	// InboxPrefix is the prefix of the subjects of responses, which the NATS user must be allowed
	// to subscribe to; "" for _INBOX_ttydrain_ and the role.
	InboxPrefix string `yaml:"inbox_prefix" want:"a subject such as _INBOX_ttydrain_gateway"`
}

func (n *NATS) setDefaults() { n.Replicas = 3 }

// Streams limits the size and age of the recorded data.
type Streams struct {
	// MaxBytes is the maximum size of each of the streams TTY and LOGS; DEADLETTER and AUDIT may
	// have a tenth of it each. 0 leaves the current limits, which are none by default.
	MaxBytes int64 `yaml:"max_bytes" as:"size" min:"64MB"`
	// Retention is the time for which data is kept: a drain misses records that are not delivered
	// by then, and receives a gap record. No session may last longer.
	Retention time.Duration `yaml:"retention" min:"1m" max:"87600h"`
}

func (s *Streams) setDefaults() { s.Retention = 14 * 24 * time.Hour }

// Admin is the HTTP server for operators.
type Admin struct {
	Listen string `yaml:"listen" want:"a host and a port, such as 127.0.0.1:9464"`
	// Socket is a Unix socket for operators' commands on the same machine; "" for none. With an
	// embedded server, it is in the store by default.
	Socket string `yaml:"socket" as:"path" want:"a path such as /run/ttydrain/admin.sock"`
	// TLS enables TLS on Listen; nil for plain HTTP, which is refused beyond this machine unless
	// PlainHTTP is set.
	TLS *AdminTLS `yaml:"tls" want:"none, or a mapping with cert_file and key_file"`
	// PlainHTTP permits plain HTTP on an address that other machines reach: tls is "none".
	PlainHTTP bool `yaml:"-"`
	// CAFile holds the authorities that operators' commands trust instead of the system's.
	CAFile string `yaml:"ca_file" as:"path"`
	// Hosts are names and addresses, without a port, that requests may be addressed to, in addition
	// to loopback addresses, the local address of the connection, and the names in the certificate
	// of TLS.
	Hosts  []string    `yaml:"hosts" want:"a list of names such as ttydrain.example.com"`
	Limits AdminLimits `yaml:"limits"`
	// Token authenticates operators' commands. With an embedded server, one is generated by
	// default.
	Token Secret `yaml:"token"`
	// Tokens are further tokens, each with a role.
	Tokens []AdminToken `yaml:"tokens" want:"a list of tokens, each with name, token and role"`
	// Console configures the web console.
	Console Console `yaml:"console"`
}

func (a *Admin) setDefaults() { a.Listen = "127.0.0.1:9464" }

// AdminToken is a token for the admin server with its role.
type AdminToken struct {
	Name  string `yaml:"name" rule:"required" want:"a name such as on-call"`
	Token Secret `yaml:"token" rule:"required"`
	Grant `yaml:",inline"`
}

// Grant holds the permissions of a caller of the admin server.
type Grant struct {
	// Role is one of the roles of package role.
	Role string `yaml:"role" rule:"required" enum:"viewer|auditor|operator|admin"`
	// PHI permits the output of sessions that may hold protected health information.
	PHI bool `yaml:"phi"`
}

// AdminTLS is the certificate of the admin server, with its chain, and its private key.
type AdminTLS struct {
	// None is set for the word "none" instead of the mapping: plain HTTP is intended, even beyond
	// this machine.
	None     bool   `yaml:"-"`
	CertFile string `yaml:"cert_file" as:"path" rule:"required"`
	KeyFile  string `yaml:"key_file" as:"path" rule:"required"`
}

// setWord sets the word that may replace the mapping.
func (t *AdminTLS) setWord(word string) bool {
	t.None = word == "none"
	return t.None
}

// AdminLimits limit the number of open connections to the admin server.
type AdminLimits struct {
	MaxConnections int `yaml:"max_connections" min:"8" max:"100000"`
	// MaxConnectionsPerAddress applies to each source address; an IPv6 /64 counts as one, and
	// trusted proxies are exempt.
	MaxConnectionsPerAddress int `yaml:"max_connections_per_address" min:"4" max:"100000"`
}

func (l *AdminLimits) setDefaults() { l.MaxConnections, l.MaxConnectionsPerAddress = 512, 128 }

// UserDocument configures the JWT that identifies a user.
type UserDocument struct {
	Issuer string `yaml:"issuer" rule:"required" want:"the issuer's name, such as https://auth.example.com"`
	// SigningKey is a PEM file with a private key, which is created if it is missing.
	SigningKey string `yaml:"signing_key" as:"path"`
	Algorithm  string `yaml:"algorithm" enum:"EdDSA|RS256|RS512|ES256"`
	// GapKey is the key that signs the gap records of a router without the signing key, made by
	// ttydrain keys make; "" for none.
	GapKey string `yaml:"gap_key" as:"path"`
	// KeepRetired is the time for which the public half of a retired key is published; 0 for ever.
	KeepRetired time.Duration `yaml:"keep_retired" min:"24h"`
}

func (u *UserDocument) setDefaults() {
	u.SigningKey = "document_key.pem"
	u.Algorithm = "EdDSA"
}

// User is a person who may open sessions.
type User struct {
	ID    string `yaml:"id" rule:"required" want:"an ID of the user, such as u-1"`
	Name  string `yaml:"name" rule:"required" want:"the name of the user, such as Ada Lovelace"`
	Email string `yaml:"email" rule:"required" want:"an address such as ada@example.com"`
	// AuthorizedKeys are files of public keys, or public keys themselves, as written in the
	// configuration.
	AuthorizedKeys []string `yaml:"authorized_keys" as:"keys" rule:"required" want:"a list of public keys, or of files that hold them"`
	// Apps are the names of the apps that the user may open.
	Apps []string `yaml:"apps" rule:"required" want:"a list of names of apps"`

	// Keys are the public keys of AuthorizedKeys.
	Keys []ssh.PublicKey `yaml:"-"`
}

// Stack is a group of apps with one plan, in the terms of the platform.
type Stack struct {
	Name string `yaml:"name" rule:"required" want:"a name such as default"`
	Plan string `yaml:"plan" enum:"starter|growth|scale|enterprise"`
	// Sessions is the maximum number of concurrent sessions on its apps; by default that of the
	// plan: see planSessions.
	Sessions int `yaml:"sessions" min:"1" max:"10000"`
	// SessionDuration is the maximum duration of a session, active or idle.
	SessionDuration time.Duration `yaml:"session_duration" max:"168h"`
	// PHI reports that sessions may hold protected health information: their logs only go to drains
	// with the agreement ([Drain.CoversPHI]).
	PHI bool `yaml:"phi"`
	// Limits limit the output of its sessions.
	Limits OutputLimits `yaml:"limits"`
}

// OutputLimits limit the output of sessions, on each gateway.
type OutputLimits struct {
	Session OutputLimit `yaml:"session"`
	User    OutputLimit `yaml:"user"`
	Stack   OutputLimit `yaml:"stack"`
}

// OutputLimit limits the output of one session, or of several together. A field that is 0 is not
// set.
type OutputLimit struct {
	// Rate is in bytes per second and applies after the first Burst bytes; the default depends on
	// the size of the store.
	Rate  int64 `yaml:"rate" as:"size" min:"16KiB" max:"1TiB" want:"a size a second such as 4MiB"`
	Burst int64 `yaml:"burst" as:"size" min:"64KiB" max:"1TiB"`
	// Bytes limits the total output of a session, or of several sessions within a day.
	Bytes int64 `yaml:"bytes" as:"size" min:"64KiB"`
}

// planSessions is the default number of concurrent sessions of a stack, by plan.
var planSessions = map[string]int{planStarter: 1, "growth": 10, "scale": 50, "enterprise": 200}

// planStarter is the plan with a single session at a time, which no setting can raise.
const planStarter = "starter"

func (s *Stack) setDefaults() {
	s.Plan = planStarter
	s.SessionDuration = sessionDurationLimit
}

// Runtimes of apps.
const (
	RuntimeSandbox = "sandbox"
	RuntimeDocker  = "docker"
)

// FileTransferRecord is the value of App.FileTransfer that permits file transfers.
const FileTransferRecord = "record"

// App is an app on which users open sessions.
type App struct {
	// Name is also the SSH user name that opens it.
	Name string `yaml:"name" rule:"required" want:"a name such as web"`
	// ID and Service are in the app's records; both default to the name.
	ID      string `yaml:"id"`
	Stack   string `yaml:"stack" rule:"required" want:"the name of a stack"`
	Service string `yaml:"service"`
	Runtime string `yaml:"runtime" enum:"sandbox|docker"`
	// Command is the command of a session, with its arguments.
	Command []string `yaml:"command" want:"a command with its arguments, such as [/bin/bash]"`
	// Env is set in the session. Its values are treated as secrets.
	Env map[string]Secret `yaml:"env" as:"env" want:"a mapping of variables, such as {RAILS_ENV: production}"`
	// Root is the folder that the session sees as "/"; "" for the host's. It is for the sandbox
	// runtime.
	Root string `yaml:"root" as:"path"`
	// Memory is the limit in bytes of all of a session's processes together.
	Memory int64 `yaml:"memory" as:"size" min:"16MB"`
	// User is the name or ID of the user that a session runs as. For the docker runtime it may be
	// USER:GROUP, and defaults to the user of the image or container. For the sandbox runtime, it
	// defaults to nobody if the gateway is root, and to the gateway's own user otherwise.
	User string `yaml:"user" want:"a user such as app or 1000"`
	// Network is the host's network, or only a loopback interface of the session's own.
	Network string `yaml:"network" enum:"host|none"`
	// Writable allows a session to write outside of its scratch folders, as far as its user may.
	Writable bool `yaml:"writable"`

	// Image and FromContainer are for the docker runtime, which requires one of them: the image of
	// sessions' containers, or the name or ID of a container whose configuration they copy.
	Image         string `yaml:"image" want:"the name of an image, such as registry.example.com/web:7"`
	FromContainer string `yaml:"from_container" want:"the name or ID of the app's container"`
	// Pull determines whether an Image that is missing on the Docker host is pulled from its
	// registry.
	Pull string `yaml:"pull" enum:"never|missing"`
	// Pids is the maximum number of concurrent processes and threads of a session.
	Pids int `yaml:"pids" min:"8" max:"100000"`

	// FileTransfer permits SFTP, and records each transfer without its content, or refuses it.
	// SFTPServer is the program for it in the session's file system.
	FileTransfer string `yaml:"file_transfer" enum:"none|record"`
	SFTPServer   string `yaml:"sftp_server" want:"the absolute path of a program, such as /usr/lib/openssh/sftp-server"`
	// RecordStdin records the input of sessions without a terminal. The input of other sessions is
	// never recorded.
	RecordStdin bool `yaml:"record_stdin"`
}

func (a *App) setDefaults() {
	a.Runtime = RuntimeSandbox
	a.Command = []string{"/bin/bash"}
	a.Memory = 1024 << 20
	a.Network = "host"
	a.Pull = "never"
	a.Pids = 4096
	a.FileTransfer = "none"
	a.SFTPServer = "/usr/lib/openssh/sftp-server"
}

// Docker is a Docker daemon.
type Docker struct {
	Host string `yaml:"host" want:"an address such as unix:///var/run/docker.sock or tcp://docker.example.com:2376"`
	TLS  TLS    `yaml:",inline"`
}

func (d *Docker) setDefaults() { d.Host = "unix:///var/run/docker.sock" }

// UsesRuntime reports whether any app has that runtime.
func (c *Config) UsesRuntime(name string) bool {
	return slices.ContainsFunc(c.Apps, func(a App) bool { return a.Runtime == name })
}
