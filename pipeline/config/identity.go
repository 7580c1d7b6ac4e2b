package config

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/identity"
)

// UserCA is a CA that signs SSH certificates of users.
type UserCA struct {
	Name string `yaml:"name" rule:"required"`
	// PublicKeys are files of the CA's public keys, or public keys themselves, as written in the
	// configuration.
	PublicKeys []string `yaml:"public_keys" as:"keys" rule:"required" want:"a list of public keys, or of files that hold them"`
	// Match limits the stacks and apps that its certificates may open.
	Match Match `yaml:"match" want:"a mapping with stacks or apps, such as {apps: [web]}"`
	// RevokedKeys is a revocation list: a key revocation list of ssh-keygen -k, or a text in a
	// format that it accepts.
	RevokedKeys string `yaml:"revoked_keys" as:"path"`

	// Keys are the public keys of PublicKeys, and Revoked is the content of RevokedKeys.
	Keys    []ssh.PublicKey       `yaml:"-"`
	Revoked *identity.Revocations `yaml:"-"`
}

// AccessToken describes the valid access tokens (JWT, RFC 7519) that users send as ACCESS_TOKEN.
type AccessToken struct {
	// Required: a session without a token is refused. Otherwise only tokens that are sent are
	// verified.
	Required bool   `yaml:"required"`
	Issuer   string `yaml:"issuer" rule:"required" want:"the claim iss of the tokens, such as https://auth.example.com"`
	Audience string `yaml:"audience" rule:"required" want:"the claim aud of the tokens, which says that they are for this gateway"`
	// JWKSURL or JWKSFile has the issuer's public keys.
	JWKSURL  string `yaml:"jwks_url" want:"a URL such as https://auth.example.com/.well-known/jwks.json"`
	JWKSFile string `yaml:"jwks_file" as:"path"`
	// Algorithms are the permitted signature algorithms, which are all asymmetric (RFC 7518 §3.1,
	// RFC 8037).
	Algorithms []string `yaml:"algorithms" enum:"RS256|RS384|RS512|PS256|PS384|PS512|ES256|ES384|ES512|EdDSA"`
	// RefreshInterval is the age at which the keys of JWKSURL are fetched again, and MaxStale their
	// maximum age for verifying a token.
	RefreshInterval time.Duration `yaml:"refresh_interval" min:"10s" max:"24h"`
	MaxStale        time.Duration `yaml:"max_stale" min:"1m" max:"168h"`
	TLS             TLS           `yaml:",inline"`

	// Keys are the keys of JWKSFile.
	Keys identity.KeySet `yaml:"-"`
}

func (a *AccessToken) setDefaults() {
	a.Algorithms = []string{"RS256", "ES256", "EdDSA"}
	a.RefreshInterval = 15 * time.Minute
	a.MaxStale = 24 * time.Hour
}

// Authorities returns the user CAs, for checking certificates.
func (c *Config) Authorities() []identity.Authority {
	list := make([]identity.Authority, len(c.UserCA))
	for i, ca := range c.UserCA {
		list[i] = identity.Authority{Name: ca.Name, Keys: ca.Keys, Revoked: ca.Revoked, Stacks: ca.Match.Stacks, Apps: ca.Match.Apps}
	}
	return list
}

// maxRevokedFile is the maximum size of a revocation list.
const maxRevokedFile = 16 << 20

func (c *Config) finishUserCA(d *decoder) {
	d.notEmpty("user_ca", len(c.UserCA))
	names := newNames(d, "user_ca", "name")
	owners := make(map[string]int) // of the keys, by wire form
	stacks, apps := c.stackNames(), c.appNames()
	for i := range c.UserCA {
		ca := &c.UserCA[i]
		path := fmt.Sprintf("user_ca[%d]", i)
		names.add(i, ca.Name)
		d.notEmpty(path+".public_keys", len(ca.PublicKeys))
		for j, text := range ca.PublicKeys {
			at := fmt.Sprintf("%s.public_keys[%d]", path, j)
			for _, key := range d.publicKeys(at, text) {
				wire := string(key.Marshal())
				owner, taken := owners[wire]
				switch {
				case taken && owner != i:
					d.refuse(codeDuplicate, at, "the key %s is also that of the user CA %s; expected each key to belong to one CA", ssh.FingerprintSHA256(key), quote(c.UserCA[owner].Name))
				case !taken:
					owners[wire] = i
					ca.Keys = append(ca.Keys, key)
				}
			}
		}
		for j, name := range ca.Match.Stacks {
			d.reference(fmt.Sprintf("%s.match.stacks[%d]", path, j), name, "stack", stacks)
		}
		for j, name := range ca.Match.Apps {
			d.reference(fmt.Sprintf("%s.match.apps[%d]", path, j), name, "app", apps)
		}
		// An empty list would match all, but its author meant none.
		d.notEmpty(path+".match.stacks", len(ca.Match.Stacks))
		d.notEmpty(path+".match.apps", len(ca.Match.Apps))
		ca.Revoked = d.revocations(path+".revoked_keys", ca.RevokedKeys)
	}
}

// revocations reads a revocation list; nil if none is set.
func (d *decoder) revocations(path, file string) *identity.Revocations {
	if !d.usable(path) {
		return nil
	}
	d.keepTrusted(path, file)
	data, err := d.readFile(file, maxRevokedFile)
	if err != nil {
		d.refuse(codeFile, path, "the file %s %v; expected the output of ssh-keygen -k, or an empty file while nothing is revoked", quote(file), err)
		return nil
	}
	revoked, err := identity.ParseRevocations(data)
	if err != nil {
		d.refuse(codePublicKey, path, "the file %s %v", quote(file), err)
	}
	return revoked
}

func (c *Config) finishAccessToken(d *decoder) {
	a := c.AccessToken
	if a == nil {
		return
	}
	const url, file = "access_token.jwks_url", "access_token.jwks_file"
	switch {
	case d.given(url) && d.given(file):
		d.refuse(codeExclusive, file, "is set together with jwks_url; expected only one of them")
	case !d.given(url) && !d.given(file):
		d.refuse(codePair, "access_token", "has neither jwks_url nor jwks_file; expected one of them: where the issuer's public keys are")
	}
	d.notEmpty("access_token.algorithms", len(a.Algorithms))
	if d.usable(url) {
		// An attacker who can change the keys in transit can forge tokens.
		d.checkEncrypted(url, a.JWKSURL, "")
	}
	if data := d.checkFile(file, a.JWKSFile); d.usable(file) {
		var err error
		if a.Keys, err = identity.ParseKeySet(data); err != nil {
			d.refuse(codePublicKey, file, "the file %s %v", quote(a.JWKSFile), err)
		}
	}
	if a.MaxStale < a.RefreshInterval {
		d.refuse(codeRange, "access_token.max_stale", "is less than refresh_interval, so that the keys would be too old before they are fetched again; expected more")
	}
	d.checkTLS("access_token", &a.TLS)
}

func (c *Config) finishAPIURL(d *decoder) {
	if !d.usable("api_url") {
		return
	}
	if _, problem := parseURL(c.APIURL, "https", "http"); problem != "" {
		d.refuse(codeURL, "api_url", "%s", problem)
	}
	c.APIURL = strings.TrimRight(c.APIURL, "/")
}
