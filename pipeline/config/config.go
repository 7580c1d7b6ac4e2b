package config

import (
	"slices"
	"time"

	"golang.org/x/crypto/ssh"
)

// sessionDurationLimit is the most that a stack's session_duration may be; the tag of
// [Stack.SessionDuration] says the same.
const sessionDurationLimit = 7 * 24 * time.Hour

// Config is the whole configuration, checked, with defaults filled in.
type Config struct {
	// Store is the folder of the embedded NATS server's files; "" where NATS is set.
	Store string `yaml:"store" as:"path" want:"a folder for the embedded server's files, such as ./data"`
	// NATS is the cluster to use in place of the embedded server, or nil.
	NATS *NATS `yaml:"nats"`
	// SyncInterval is how often the embedded server syncs its files to disk; 0 is before anything in
	// them is acknowledged or read.
	SyncInterval time.Duration `yaml:"sync_interval" as:"interval"`

	Streams      Streams      `yaml:"streams"`
	Gateway      Gateway      `yaml:"gateway"`
	Sandbox      Sandbox      `yaml:"sandbox"`
	Admin        Admin        `yaml:"admin"`
	UserDocument UserDocument `yaml:"user_document" rule:"required" want:"a mapping with the issuer"`
	// APIURL is the platform's API, which the hrefs in sessions' environments begin with; "" for no
	// hrefs.
	APIURL string `yaml:"api_url" want:"a URL such as https://api.example.com"`
	// AccessToken says which access tokens people may send along, or must; nil for none.
	AccessToken *AccessToken `yaml:"access_token"`
	// UserCA are the CAs whose SSH certificates say who people are. They or Users are there, or both.
	UserCA []UserCA `yaml:"user_ca" want:"a list of user CAs"`
	Users  []User   `yaml:"users" want:"a list of users"`
	Stacks []Stack  `yaml:"stacks" rule:"required" want:"a list of stacks"`
	Apps   []App    `yaml:"apps" rule:"required" want:"a list of apps"`
	Drains []Drain  `yaml:"drains"`
	// Docker is the daemon of the apps with the docker runtime.
	Docker Docker `yaml:"docker"`
	Log    Log    `yaml:"log"`
	// InsecureFilePermissions is what happens with secrets in files that others than their owner
	// may read: the configuration is refused, or accepted with a warning.
	InsecureFilePermissions string `yaml:"insecure_file_permissions" enum:"refuse|warn"`
	// Tracing is where traces go, or nil for nowhere.
	Tracing *Tracing `yaml:"tracing"`

	byKey   map[string]int // index in Users by the wire form of a public key
	private []PrivateFile  // this file first

	warnings Mistakes
}

func (c *Config) setDefaults() { c.Store, c.InsecureFilePermissions = "data", permissionsRefuse }

// NATS is a JetStream cluster that other people run.
type NATS struct {
	// URL is one or more URLs (nats, tls, ws, wss) with commas between, without credentials.
	URL      string `yaml:"url" rule:"required" want:"a URL such as nats://127.0.0.1:4222"`
	Replicas int    `yaml:"replicas" min:"1" max:"5"`
	// CredentialsFile is a file of NATS credentials (a JWT and an NKey seed). It, NKeySeedFile, Token,
	// and Username with Password exclude each other.
	CredentialsFile string `yaml:"credentials_file" as:"path"`
	// NKeySeedFile is a file with the seed of a user's NKey.
	NKeySeedFile string `yaml:"nkey_seed_file" as:"path"`
	Username     string `yaml:"username"`
	Password     Secret `yaml:"password"`
	Token        Secret `yaml:"token"`
	TLS          TLS    `yaml:",inline"`
	// InboxPrefix begins the subjects on which answers come, which the NATS user must be allowed to
	// subscribe to; "" for _INBOX_ttydrain_ and the role.
	InboxPrefix string `yaml:"inbox_prefix" want:"a subject such as _INBOX_ttydrain_gateway"`
}

func (n *NATS) setDefaults() { n.Replicas = 3 }

// Streams says how much of what sessions showed is kept, and for how long.
type Streams struct {
	// MaxBytes is how large each of the streams TTY and LOGS may become; DEADLETTER may have a tenth
	// of it. 0 leaves their bounds as they are: none, where nobody has set one.
	MaxBytes int64 `yaml:"max_bytes" as:"size" min:"64MB"`
	// Retention is how long they keep what was written: what a drain has not taken by then is missing
	// there, and a gap record says so. No session may last for longer.
	Retention time.Duration `yaml:"retention" min:"1m" max:"87600h"`
}

func (s *Streams) setDefaults() { s.Retention = 14 * 24 * time.Hour }

// Admin is the HTTP server for operators.
type Admin struct {
	Listen string `yaml:"listen" want:"a host and a port, such as 127.0.0.1:9464"`
	// Socket is a Unix socket for operators' commands on the same machine; "" for none. With an
	// embedded server it is in the store where it is not set.
	Socket string `yaml:"socket" as:"path" want:"a path such as /run/ttydrain/admin.sock"`
	// TLS makes Listen speak TLS, or is nil.
	TLS *AdminTLS `yaml:"tls"`
	// CAFile is what operators' commands trust in place of the system's authorities.
	CAFile string `yaml:"ca_file" as:"path"`
	// Hosts are names and addresses, without a port, that requests may be for, beside loopback
	// addresses, the address that a connection came to, and the names in the certificate of TLS.
	Hosts  []string    `yaml:"hosts" want:"a list of names such as ttydrain.example.com"`
	Limits AdminLimits `yaml:"limits"`
	// Token is what operators' commands show. With an embedded server one is made where it is not set.
	Token Secret `yaml:"token"`
	// Console is for people with a browser.
	Console Console `yaml:"console"`
}

func (a *Admin) setDefaults() { a.Listen = "127.0.0.1:9464" }

// AdminTLS is the certificate of the admin server, with its chain, and its private key.
type AdminTLS struct {
	CertFile string `yaml:"cert_file" as:"path" rule:"required"`
	KeyFile  string `yaml:"key_file" as:"path" rule:"required"`
}

// AdminLimits bound the connections to the admin server that are open at once.
type AdminLimits struct {
	MaxConnections int `yaml:"max_connections" min:"8" max:"100000"`
	// MaxConnectionsPerAddress is for one source address; a /64 of IPv6 counts as one, and trusted
	// proxies are exempt.
	MaxConnectionsPerAddress int `yaml:"max_connections_per_address" min:"4" max:"100000"`
}

func (l *AdminLimits) setDefaults() { l.MaxConnections, l.MaxConnectionsPerAddress = 512, 128 }

// UserDocument says how the JWT is made that tells who a user is.
type UserDocument struct {
	Issuer string `yaml:"issuer" rule:"required" want:"the issuer's name, such as https://auth.example.com"`
	// SigningKey is a PEM file of a private key, which is created when it is missing.
	SigningKey string `yaml:"signing_key" as:"path"`
	Algorithm  string `yaml:"algorithm" enum:"EdDSA|RS256|RS512|ES256"`
	// KeepRetired is how long the public half of a key that was rotated away is published; 0 for ever.
	KeepRetired time.Duration `yaml:"keep_retired" min:"24h"`
}

func (u *UserDocument) setDefaults() {
	u.SigningKey = "document_key.pem"
	u.Algorithm = "EdDSA"
}

// A User is a person who may open sessions.
type User struct {
	ID    string `yaml:"id" rule:"required"`
	Name  string `yaml:"name" rule:"required"`
	Email string `yaml:"email" rule:"required" want:"an address such as ada@example.com"`
	// AuthorizedKeys are files of public keys, or public keys themselves, as written in the file.
	AuthorizedKeys []string `yaml:"authorized_keys" rule:"required" want:"a list of public keys, or of files that hold them"`
	// Apps are the names of the apps that the user may open.
	Apps []string `yaml:"apps" rule:"required" want:"a list of names of apps"`

	// Keys are the public keys that AuthorizedKeys stand for.
	Keys []ssh.PublicKey `yaml:"-"`
}

// A Stack is what the platform calls a group of apps with one plan.
type Stack struct {
	Name string `yaml:"name" rule:"required"`
	Plan string `yaml:"plan" enum:"starter|growth|scale|enterprise"`
	// Sessions is how many sessions may run on its apps at a time; where it is not given, what the
	// plan has: see planSessions.
	Sessions int `yaml:"sessions" min:"1" max:"10000"`
	// SessionDuration is how long a session may last, active or idle.
	SessionDuration time.Duration `yaml:"session_duration" max:"168h"`
	// PHI says that sessions may hold protected health information: their logs go only to drains
	// that name the agreement ([Drain.CoversPHI]).
	PHI bool `yaml:"phi"`
	// Limits bound the output of its sessions.
	Limits OutputLimits `yaml:"limits"`
}

// OutputLimits bound how much sessions show, on each gateway.
type OutputLimits struct {
	Session OutputLimit `yaml:"session"`
	User    OutputLimit `yaml:"user"`
	Stack   OutputLimit `yaml:"stack"`
}

// OutputLimit bounds the output of one session, or of several together. A field that is 0 is not
// set.
type OutputLimit struct {
	// Rate is in bytes a second, after the first Burst bytes; by default it follows from the size
	// of the store.
	Rate  int64 `yaml:"rate" as:"size" min:"16KiB" max:"1TiB" want:"a size a second such as 4MiB"`
	Burst int64 `yaml:"burst" as:"size" min:"64KiB" max:"1TiB"`
	// Bytes bounds the output of a session in total, or of several sessions within a day.
	Bytes int64 `yaml:"bytes" as:"size" min:"64KiB"`
}

// planSessions is how many sessions a stack of each plan may have at a time where it says nothing
// of its own.
var planSessions = map[string]int{planStarter: 1, "growth": 10, "scale": 50, "enterprise": 200}

// planStarter is the plan with one session at a time, which no setting makes more.
const planStarter = "starter"

func (s *Stack) setDefaults() {
	s.Plan = planStarter
	s.SessionDuration = sessionDurationLimit
}

// The runtimes of apps.
const (
	RuntimeSandbox = "sandbox"
	RuntimeDocker  = "docker"
)

// FileTransferRecord is the setting of an app whose sessions may transfer files.
const FileTransferRecord = "record"

// An App is what a person opens a session on.
type App struct {
	// Name is also the SSH user name that opens it.
	Name string `yaml:"name" rule:"required"`
	// ID and Service are in the app's records; both are the name where they are not given.
	ID      string `yaml:"id"`
	Stack   string `yaml:"stack" rule:"required" want:"the name of a stack"`
	Service string `yaml:"service"`
	Runtime string `yaml:"runtime" enum:"sandbox|docker"`
	// Command is what a session runs, with its arguments.
	Command []string `yaml:"command" want:"a command with its arguments, such as [/bin/bash]"`
	// Env is set in the session. Its values are taken as secrets.
	Env map[string]Secret `yaml:"env" as:"env"`
	// Root is the folder that the session sees as "/"; "" for the host's. It is for the sandbox
	// runtime.
	Root string `yaml:"root" as:"path"`
	// Memory is the limit in bytes of all of a session's processes together.
	Memory int64 `yaml:"memory" as:"size" min:"16MB"`
	// User is the user, by name or number, that a session runs as; with the docker runtime USER:GROUP
	// too, and by default whom the image or the container has. With the sandbox the default is nobody
	// where the gateway is root, and the gateway's own user otherwise.
	User string `yaml:"user" want:"a user such as app or 1000"`
	// Network is the host's, or none but a loopback interface of the session's own.
	Network string `yaml:"network" enum:"host|none"`
	// Writable lets a session write to the files outside of its scratch folders as far as its user
	// may.
	Writable bool `yaml:"writable"`

	// Image and FromContainer are for the docker runtime, which needs one of both: the image of
	// sessions' containers, or the name or ID of a container whose configuration they take.
	Image         string `yaml:"image" want:"the name of an image, such as registry.example.com/web:7"`
	FromContainer string `yaml:"from_container" want:"the name or ID of the app's container"`
	// Pull says whether an Image that is not on the Docker host is got from its registry.
	Pull string `yaml:"pull" enum:"never|missing"`
	// Pids is the maximum number of processes and threads of a session at a time.
	Pids int `yaml:"pids" min:"8" max:"100000"`

	// FileTransfer allows SFTP, each transfer of which is recorded without its content, or refuses it.
	// SFTPServer is the program for it in the session's file system.
	FileTransfer string `yaml:"file_transfer" enum:"none|record"`
	SFTPServer   string `yaml:"sftp_server" want:"the absolute path of a program, such as /usr/lib/openssh/sftp-server"`
	// RecordStdin records the input of sessions without a terminal. Of others, input is never
	// recorded.
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

// UsesRuntime says whether any app has that runtime.
func (c *Config) UsesRuntime(name string) bool {
	return slices.ContainsFunc(c.Apps, func(a App) bool { return a.Runtime == name })
}
