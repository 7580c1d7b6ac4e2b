package probe

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"
)

func parse(c *tls.Certificate) []*x509.Certificate {
	var chain []*x509.Certificate
	for _, der := range c.Certificate {
		if one, err := x509.ParseCertificate(der); err == nil {
			chain = append(chain, one)
		}
	}
	return chain
}

func certificates(chain []*x509.Certificate) []Certificate {
	var list []Certificate
	for _, c := range chain {
		left := time.Until(c.NotAfter)
		days := int(left / (24 * time.Hour))
		if left < 0 {
			days-- // since a division rounds to zero
		}
		list = append(list, Certificate{
			Subject: Printable(c.Subject.String()), Issuer: Printable(c.Issuer.String()),
			NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(), DaysLeft: days,
		})
	}
	return list
}

// names returns a few of the names that a certificate is for.
func names(c *x509.Certificate) string {
	const maxNames = 5
	all := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) > maxNames {
		all = append(all[:maxNames], fmt.Sprintf("and %d more", len(all)-maxNames))
	}
	if len(all) == 0 {
		return "no host name"
	}
	return strings.Join(all, ", ")
}
