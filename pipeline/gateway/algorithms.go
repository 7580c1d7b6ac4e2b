package gateway

import (
	"crypto/rsa"
	"fmt"

	"golang.org/x/crypto/ssh"
)

// minRSABits is the minimum size of an RSA host key.
const minRSABits = 2048

// algorithms returns the algorithms that ssh-audit rates as good: no SHA-1, no MAC of plain text
// and no NIST curve in a key exchange. There is no finite field group either: its computation costs
// the server a hundred times as much as the request costs the client (CVE-2002-20001). The client's
// preference decides among them.
func algorithms() ssh.Algorithms {
	return ssh.Algorithms{
		KeyExchanges: []string{
			ssh.KeyExchangeMLKEM768X25519,
			ssh.KeyExchangeCurve25519,
		},
		Ciphers: []string{
			ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherChaCha20Poly1305,
			ssh.CipherAES256CTR, ssh.CipherAES192CTR, ssh.CipherAES128CTR,
		},
		MACs: []string{ssh.HMACSHA256ETM, ssh.HMACSHA512ETM},
		HostKeys: []string{
			ssh.KeyAlgoED25519, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
			ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
		},
		PublicKeyAuths: []string{
			ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
			ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKECDSA256,
		},
	}
}

// hostSigner returns a signer for a host key, or for a host certificate, that only uses the
// algorithms of the gateway: SHA-2 for an RSA key.
func hostSigner(key ssh.Signer) (ssh.Signer, error) {
	public := key.PublicKey()
	if cert, ok := public.(*ssh.Certificate); ok {
		public = cert.Key
	}
	kind := public.Type()
	switch kind {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521:
		return key, nil
	case ssh.KeyAlgoRSA:
	default:
		return nil, fmt.Errorf("a host key of type %s is not supported: use ed25519, ecdsa or rsa", kind)
	}
	if crypto, ok := public.(ssh.CryptoPublicKey); ok {
		if rsaKey, ok := crypto.CryptoPublicKey().(*rsa.PublicKey); ok && rsaKey.N.BitLen() < minRSABits {
			return nil, fmt.Errorf("the RSA host key has %d bits: use one with at least %d", rsaKey.N.BitLen(), minRSABits)
		}
	}
	signer, ok := key.(ssh.AlgorithmSigner)
	if !ok {
		return nil, fmt.Errorf("the host key of type %s cannot sign by SHA-2", kind)
	}
	return ssh.NewSignerWithAlgorithms(signer, []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256})
}
