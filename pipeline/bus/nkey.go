package bus

import (
	"errors"
	"fmt"

	"github.com/nats-io/nkeys"
)

// NewNKeySeed makes an NKey for a user of NATS, and gives its seed: what the file of
// [Options.NKeySeedFile] holds.
func NewNKeySeed() ([]byte, error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return nil, fmt.Errorf("make an NKey: %w", err)
	}
	return pair.Seed() // not a copy: the pair is not wiped
}

// PublicNKey is the public key of a seed: what the server is told.
func PublicNKey(seed []byte) (string, error) {
	pair, err := nkeys.ParseDecoratedUserNKey(seed)
	if err != nil {
		return "", fmt.Errorf("read the seed of an NKey: %w", err)
	}
	defer pair.Wipe()
	return pair.PublicKey()
}

// CheckNKeySeed reports what keeps data from being the file of [Options.NKeySeedFile]. The error
// quotes nothing of it.
func CheckNKeySeed(data []byte) error {
	_, err := PublicNKey(data)
	return err
}

// CheckCredentials reports what keeps data from being the file of [Options.CredentialsFile]. The
// error quotes nothing of it.
func CheckCredentials(data []byte) error {
	token, err := nkeys.ParseDecoratedJWT(data)
	if err != nil || token == "" {
		return errors.New("there is no JWT of a user in it")
	}
	return CheckNKeySeed(data)
}
