package bench

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/api"
)

// certificates makes a certification authority, which is forgotten, and a certificate for each node, valid for a day.
func certificates(dir string, nodes ...*node) error {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make certificates: %w", err)
	}
	ca := template("bench", 1)
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return fmt.Errorf("make certificates: %w", err)
	}
	caPath := filepath.Join(dir, "ca.pem")
	if err := writePEM(caPath, "CERTIFICATE", der); err != nil {
		return err
	}
	for i, n := range nodes {
		n.tls = &api.TLSFiles{CA: caPath, Cert: filepath.Join(dir, n.name+".pem"), Key: filepath.Join(dir, n.name+".key")}
		if err := n.issue(ca, caKey, int64(i)+2); err != nil {
			return fmt.Errorf("certificate of %s: %w", n.name, err)
		}
	}
	return nil
}

func (n *node) issue(ca *x509.Certificate, caKey *ecdsa.PrivateKey, serial int64) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, template(n.name, serial), ca, &key.PublicKey, caKey)
	if err != nil {
		return err
	}
	if err := writePEM(n.tls.Cert, "CERTIFICATE", der); err != nil {
		return err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(n.tls.Key, "EC PRIVATE KEY", private)
}

func template(name string, serial int64) *x509.Certificate {
	return &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
}

func writePEM(path, kind string, der []byte) error {
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		return fmt.Errorf("make certificates: %w", err)
	}
	return nil
}
