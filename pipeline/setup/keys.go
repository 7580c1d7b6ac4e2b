package setup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// defaultKeys are the private keys that OpenSSH's client offers on its own, in ~/.ssh.
var defaultKeys = []string{"id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk"}

// maxKeyFile is the maximum size of a file with a public key.
const maxKeyFile = 64 << 10

// A publicKey is a public key in the user's folder of key pairs.
type publicKey struct {
	public    ssh.PublicKey
	private   string // path of the private key; "" if there is none beside it
	isDefault bool   // clients find the private key themselves
}

// findKeys returns the public keys in a folder, in the order of their files' names. Files that hold
// something else, such as certificates, are left out.
func findKeys(folder string) ([]publicKey, error) {
	files, err := filepath.Glob(filepath.Join(globEscape(folder), "*.pub"))
	if err != nil {
		return nil, fmt.Errorf("find public keys in %s: %w", folder, err)
	}
	var found []publicKey
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil || !info.Mode().IsRegular() || info.Size() > maxKeyFile {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			continue // not readable by this user
		}
		public, _, _, _, err := ssh.ParseAuthorizedKey(text)
		if err != nil {
			continue
		}
		if _, isCertificate := public.(*ssh.Certificate); isCertificate || public.Type() == "ssh-dss" {
			continue
		}
		key := publicKey{public: public}
		if path := strings.TrimSuffix(file, ".pub"); isFile(path) {
			key.private, key.isDefault = path, slices.Contains(defaultKeys, filepath.Base(path))
		}
		found = append(found, key)
	}
	return found, nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// globEscape returns the pattern that matches a path alone.
func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
