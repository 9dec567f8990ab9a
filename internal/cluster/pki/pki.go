// Package pki makes and keeps the keys and certificates of a host and of a cluster: the identity a host has from its
// first start (pinned by others at first contact), and the certificate a cluster's own CA issues to each member.
//
// Files, below paths.Root.Etc: identity.crt and identity.key; known-hosts (one "NAME SHA256" a line); cluster/ca.crt,
// cluster/node.crt, cluster/node.key, and on data members cluster/ca.key. Keys are P-256, PKCS #8 in PEM, mode 0600.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/cluster"
	"holdfast/internal/paths"
)

// Identity is a key with its certificate.
type Identity struct {
	Cert tls.Certificate
	// Fingerprint is the SHA-256 of the certificate, hex.
	Fingerprint string
}

// Fingerprint is the SHA-256 of a certificate's DER form, hex.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// EnsureIdentity reads the host's identity, or makes it at the first start.
func EnsureIdentity(root paths.Root, name string) (Identity, error) {
	crt, key := filepath.Join(root.Etc(), "identity.crt"), filepath.Join(root.Etc(), "identity.key")
	id, err := readIdentity(crt, key)
	if err == nil {
		return id, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return Identity{}, fmt.Errorf("read this host's identity: %w", err)
	}
	if err := os.MkdirAll(root.Etc(), 0o755); err != nil {
		return Identity{}, fmt.Errorf("make this host's identity: %w", err)
	}
	if err := makeIdentity(crt, key, name); err != nil {
		return Identity{}, fmt.Errorf("make this host's identity: %w", err)
	}
	return readIdentity(crt, key)
}

func readIdentity(crt, key string) (Identity, error) {
	cert, err := tls.LoadX509KeyPair(crt, key)
	if err != nil {
		return Identity{}, err
	}
	return Identity{Cert: cert, Fingerprint: Fingerprint(cert.Certificate[0])}, nil
}

// makeIdentity writes a self-signed certificate. The key goes last but one: a certificate without key is made anew.
func makeIdentity(crt, key, name string) error {
	priv, keyPEM, err := newKey()
	if err != nil {
		return err
	}
	tmpl, err := template(name)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, priv.Public(), priv)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	if err := WriteFile(key, keyPEM, 0o600); err != nil {
		return err
	}
	return WriteFile(crt, encodePEM("CERTIFICATE", der), 0o644)
}

func newKey() (crypto.Signer, []byte, error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return nil, nil, fmt.Errorf("encode a key: %w", err)
	}
	return priv, encodePEM("PRIVATE KEY", der), nil
}

// template is a certificate for a host, as server and client.
func template(name string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-cluster.CertBackdate), NotAfter: now.AddDate(cluster.CertYears, 0, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, nil
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// WriteFile writes a file whole or not at all, and durably: under another name, synced, then renamed.
func WriteFile(path string, data []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	for _, step := range []func() error{func() error { return f.Chmod(mode) }, f.Sync, f.Close} {
		if err2 := step(); err == nil {
			err = err2
		}
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
