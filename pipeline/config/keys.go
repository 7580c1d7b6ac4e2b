package config

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// maxKeyFile is the maximum size of files of keys and certificates; a system's bundle of CAs has
// 250 KiB.
const maxKeyFile = 4 << 20

// literalKey matches the beginning of a public key in the configuration itself.
var literalKey = regexp.MustCompile(`^(ssh-|ecdsa-sha2-|sk-ssh-|sk-ecdsa-)\S*\s`)

// finishKeys reads the authorized keys of the user at index i.
func (c *Config) finishKeys(d *decoder, i int) {
	u := &c.Users[i]
	for j, text := range u.AuthorizedKeys {
		path := fmt.Sprintf("users[%d].authorized_keys[%d]", i, j)
		for _, key := range d.publicKeys(path, text) {
			wire := string(key.Marshal())
			owner, taken := c.byKey[wire]
			switch {
			case taken && owner != i:
				d.refuse(codeDuplicate, path, "the key %s is also that of the user %s; expected each key to belong to one user", ssh.FingerprintSHA256(key), quote(c.Users[owner].ID))
			case !taken:
				c.byKey[wire] = i
				u.Keys = append(u.Keys, key)
			}
		}
	}
}

// publicKeys returns the keys that a text at path represents: a public key itself, or a file of
// them. After an error it returns none.
func (d *decoder) publicKeys(path, text string) []ssh.PublicKey {
	if !d.usable(path) {
		return nil
	}
	if literalKey.MatchString(text) {
		keys, err := parseKeys([]byte(text))
		if err != nil {
			d.refuse(codePublicKey, path, "%v", err)
		}
		return keys
	}
	name := resolvePath(d.dir, text)
	if isPasted(text) {
		d.refuse(codePasted, path, "is a private key or a part of one, which must not be shared, and not shown here; expected the public key (ssh-ed25519 AAAA…), or the path of a file that holds it")
		return nil
	}
	d.keepTrusted(path, name)
	data, err := d.readFile(name, maxKeyFile)
	if err != nil {
		d.refuse(codeFile, path, "the file %s %v; expected a file of public keys (ssh-keygen -t ed25519 makes one, with the name .pub), or a key itself: ssh-ed25519 AAAA…", quote(name), err)
		return nil
	}
	keys, err := parseKeys(data)
	if err != nil {
		d.refuse(codePublicKey, path, "the file %s %v", quote(name), err)
	}
	return keys
}

// parseKeys parses public keys in the format of authorized_keys files (sshd(8)), without options.
// Its errors contain nothing of the data, which could be a private key by mistake.
func parseKeys(data []byte) ([]ssh.PublicKey, error) {
	if bytes.Contains(data, []byte("PRIVATE KEY-----")) {
		return nil, errors.New("holds a private key, which must not be shared; expected the public one (.pub)")
	}
	var keys []ssh.PublicKey
	number := 0
	for line := range bytes.Lines(data) {
		number++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		key, _, options, _, err := ssh.ParseAuthorizedKey(line)
		switch {
		case err != nil:
			return nil, fmt.Errorf("has no valid public key in its line %d; expected one as ssh-keygen writes it: ssh-ed25519 AAAA…", number)
		case len(options) > 0:
			return nil, fmt.Errorf("has options before the key in its line %d, which ttydrain does not support; expected only the key", number)
		case strings.Contains(key.Type(), "-cert-"):
			return nil, fmt.Errorf("has a certificate in its line %d; expected a public key", number)
		case key.Type() == "ssh-dss":
			return nil, fmt.Errorf("has a DSA key in its line %d, which is not safe; expected an Ed25519, ECDSA or RSA key", number)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("holds no public key; expected one such as ssh-ed25519 AAAA…")
	}
	return keys, nil
}

// checkHostKey checks a host key if it exists, and returns its type; missing reports that it does
// not exist.
func (d *decoder) checkHostKey(path, file string) (kind string, missing bool) {
	data, ok := d.existingKey(path, file)
	if !ok {
		_, err := os.Stat(file)
		return "", errors.Is(err, fs.ErrNotExist)
	}
	if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o077 != 0 && !openToGroupAlone(info) && !mounted(file) {
		d.refuse(codeOpenFile, path, "the file %s is open to others (mode %04o); expected mode 0600: chmod 600 sets it", quote(file), info.Mode().Perm())
		return "", false
	}
	key, err := ssh.ParsePrivateKey(data)
	switch {
	case errors.As(err, new(*ssh.PassphraseMissingError)):
		d.refuse(codePrivateKey, path, "the key in %s needs a passphrase; expected one without (ssh-keygen -p removes it)", quote(file))
		return "", false
	case err != nil:
		d.refuse(codePrivateKey, path, "the file %s holds no private key; expected one as ssh-keygen writes it, or no file: it is created then", quote(file))
		return "", false
	}
	kind = key.PublicKey().Type()
	switch kind {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521:
	case ssh.KeyAlgoRSA:
		if public, ok := key.PublicKey().(ssh.CryptoPublicKey).CryptoPublicKey().(*rsa.PublicKey); ok && public.N.BitLen() < 2048 {
			d.refuse(codePrivateKey, path, "the file %s holds an RSA key of %d bits; expected 2048 or more", quote(file), public.N.BitLen())
		}
	default:
		d.refuse(codePrivateKey, path, "the file %s holds a key of type %s; expected ed25519, ecdsa or rsa", quote(file), kind)
	}
	return kind, false
}

// checkSigningKey checks the key of user documents if it exists, and that it fits the algorithm.
func (d *decoder) checkSigningKey(path string, u *UserDocument) {
	d.files.look(u.SigningKey) // it may be rotated
	data, ok := d.existingKey(path, u.SigningKey)
	if !ok {
		return
	}
	var kind string
	var algorithms []string
	switch key := parsePrivateKey(data).(type) {
	case ed25519.PrivateKey:
		kind, algorithms = "an Ed25519 key", []string{"EdDSA"}
	case *rsa.PrivateKey:
		kind, algorithms = fmt.Sprintf("an RSA key of %d bits", key.N.BitLen()), []string{"RS256", "RS512"}
		if key.N.BitLen() < 2048 { // RFC 7518 §3.3
			d.refuse(codePrivateKey, path, "the file %s holds %s; expected 2048 bits or more", quote(u.SigningKey), kind)
			return
		}
	case *ecdsa.PrivateKey:
		if key.Curve != elliptic.P256() {
			d.refuse(codePrivateKey, path, "the file %s holds an ECDSA key on %s; expected P-256", quote(u.SigningKey), key.Curve.Params().Name)
			return
		}
		kind, algorithms = "an ECDSA key on P-256", []string{"ES256"}
	default:
		d.refuse(codePrivateKey, path, "the file %s holds no private key; expected a PEM file (PKCS #8) without a passphrase, or no file: it is created then", quote(u.SigningKey))
		return
	}
	at := "user_document.algorithm"
	if d.given(at) && !d.usable(at) {
		return
	}
	if slices.Contains(algorithms, u.Algorithm) {
		return
	}
	d.refuse(codeElsewhere, at, "%s does not go with %s in %s; expected %s", u.Algorithm, kind, quote(u.SigningKey), strings.Join(algorithms, " or "))
}

// existingKey reads the file of a key that may be missing.
func (d *decoder) existingKey(path, file string) ([]byte, bool) {
	if file == "" || d.given(path) && !d.usable(path) {
		return nil, false
	}
	data, err := readFile(file, maxKeyFile)
	if errors.Is(err, errMissing) {
		if problem := checkCreatable(file); problem != nil {
			d.refuse(codeFile, path, "the file %s %v; expected a path in a folder", quote(file), problem)
		}
		return nil, false
	}
	if err != nil {
		d.refuse(codePrivateKey, path, "the file %s %v; expected a private key, or no file: it is created then", quote(file), err)
	}
	return data, err == nil
}

// parsePrivateKey parses a private key in PEM; nil if there is none.
func parsePrivateKey(data []byte) any {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil
	}
	if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		return key
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key
	}
	return nil
}

// checkFile checks that a file, if set, is readable, and returns its content.
func (d *decoder) checkFile(path, file string) []byte {
	if !d.usable(path) {
		return nil
	}
	d.keepTrusted(path, file)
	data, err := d.readFile(file, maxKeyFile)
	if err != nil {
		d.refuse(codeFile, path, "the file %s %v; create it, or correct the path (relative ones start at the configuration's folder)", quote(file), err)
	}
	return data
}

// checkTLS checks the files of t, whose fields are in the mapping at path.
func (d *decoder) checkTLS(path string, t *TLS) {
	caAt, certAt, keyAt := join(path, "ca_file"), join(path, "cert_file"), join(path, "key_file")
	d.keepPrivate(keyAt, t.KeyFile)
	ca, cert, key := d.checkFile(caAt, t.CAFile), d.checkFile(certAt, t.CertFile), d.checkFile(keyAt, t.KeyFile)
	if d.usable(caAt) && !x509.NewCertPool().AppendCertsFromPEM(ca) {
		d.refuse(codeCertificate, caAt, "the file %s holds no certificate; expected one or more in PEM (-----BEGIN CERTIFICATE-----)", quote(t.CAFile))
	}
	d.together(certAt, keyAt)
	if d.usable(certAt) && d.usable(keyAt) {
		if _, err := tls.X509KeyPair(cert, key); err != nil {
			// The cause says which of them is wrong, without quoting either.
			d.refuse(codeCertificate, certAt, "the files %s and %s are not a certificate and its private key in PEM: %v", quote(t.CertFile), quote(t.KeyFile), err)
		}
	}
	if at := join(path, "server_name"); d.usable(at) && !validHost(t.ServerName) {
		d.refuse(codeAddress, at, "%s is not a host; expected the name in the server's certificate", quote(t.ServerName))
	}
}
