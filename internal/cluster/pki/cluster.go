package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"holdfast/internal/api"
	"holdfast/internal/paths"
)

// Cluster is a member's certificate, with the CA that issued it.
type Cluster struct {
	Cert tls.Certificate
	CA   *x509.CertPool
	// Name is the certificate's common name: the member's name.
	Name string
}

// ErrNoCluster: this host has no cluster certificate.
var ErrNoCluster = errors.New("this host belongs to no cluster")

func clusterDir(root paths.Root) string { return filepath.Join(root.Etc(), "cluster") }

// Files names this member's PEM files.
func Files(root paths.Root) api.TLSFiles {
	dir := clusterDir(root)
	return api.TLSFiles{CA: filepath.Join(dir, "ca.crt"), Cert: filepath.Join(dir, "node.crt"), Key: filepath.Join(dir, "node.key")}
}

// LoadCluster reads this member's certificate; ErrNoCluster if there is none.
func LoadCluster(root paths.Root) (*Cluster, error) {
	files := Files(root)
	ca, err := os.ReadFile(files.CA)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNoCluster
	}
	if err != nil {
		return nil, fmt.Errorf("read the cluster's certificate: %w", err)
	}
	cert, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		return nil, fmt.Errorf("read this member's certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("read the cluster's certificate: %s holds none", files.CA)
	}
	if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
		return nil, fmt.Errorf("read this member's certificate: %w", err)
	}
	return &Cluster{Cert: cert, CA: pool, Name: cert.Leaf.Subject.CommonName}, nil
}

// Request is a key made on this host and the request to certify it.
type Request struct {
	Key []byte // PEM; stays here
	CSR []byte // PEM; goes to the CA
}

// NewRequest makes a key and a certificate request for the member name.
func NewRequest(name string) (Request, error) {
	priv, keyPEM, err := newKey()
	if err != nil {
		return Request{}, fmt.Errorf("request a certificate for %s: %w", name, err)
	}
	tmpl, err := template(name)
	if err != nil {
		return Request{}, fmt.Errorf("request a certificate for %s: %w", name, err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: tmpl.Subject}, priv)
	if err != nil {
		return Request{}, fmt.Errorf("request a certificate for %s: %w", name, err)
	}
	return Request{Key: keyPEM, CSR: encodePEM("CERTIFICATE REQUEST", der)}, nil
}

// Install makes this host a member: writes key, certificate and CA. Replaces an earlier cluster's. The CA's certificate
// goes last: LoadCluster looks for it first.
func Install(root paths.Root, key, cert, ca []byte) error {
	if err := os.MkdirAll(clusterDir(root), 0o700); err != nil {
		return fmt.Errorf("install the cluster's certificates: %w", err)
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		return fmt.Errorf("install the cluster's certificates: key and certificate do not fit: %w", err)
	}
	files := Files(root)
	if err := WriteFile(files.Key, key, 0o600); err != nil {
		return err
	}
	if err := WriteFile(files.Cert, cert, 0o644); err != nil {
		return err
	}
	return WriteFile(files.CA, ca, 0o644)
}

// Destroy removes this host's cluster certificates. It is no error if there are none.
func Destroy(root paths.Root) error {
	if err := os.RemoveAll(clusterDir(root)); err != nil {
		return fmt.Errorf("remove the cluster's certificates: %w", err)
	}
	return nil
}

// CA issues a cluster's certificates.
type CA struct {
	cert *x509.Certificate
	key  crypto.Signer
	// CertPEM and KeyPEM are what InstallCA writes.
	CertPEM, KeyPEM []byte
}

// NewCA makes the CA of a new cluster.
func NewCA(clusterName string) (*CA, error) {
	key, keyPEM, err := newKey()
	if err != nil {
		return nil, fmt.Errorf("make the CA of cluster %s: %w", clusterName, err)
	}
	tmpl, err := template("holdfast cluster " + clusterName)
	if err != nil {
		return nil, fmt.Errorf("make the CA of cluster %s: %w", clusterName, err)
	}
	tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.MaxPathLenZero = true, true, true
	tmpl.KeyUsage, tmpl.ExtKeyUsage = x509.KeyUsageCertSign, nil
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the CA of cluster %s: %w", clusterName, err)
	}
	return ParseCA(encodePEM("CERTIFICATE", der), keyPEM)
}

// ParseCA reads a CA from PEM.
func ParseCA(certPEM, keyPEM []byte) (*CA, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's CA: %w", err)
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("read the cluster's CA: %w", err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !cert.IsCA {
		return nil, errors.New("read the cluster's CA: the certificate is not that of a CA")
	}
	return &CA{cert: cert, key: key, CertPEM: certPEM, KeyPEM: keyPEM}, nil
}

// InstallCA keeps the CA's key on this host, so that it can take in members. Install writes the certificate.
func InstallCA(root paths.Root, ca *CA) error {
	if err := os.MkdirAll(clusterDir(root), 0o700); err != nil {
		return fmt.Errorf("keep the cluster's CA: %w", err)
	}
	return WriteFile(filepath.Join(clusterDir(root), "ca.key"), ca.KeyPEM, 0o600)
}

// LoadCA reads the CA kept by InstallCA. An os.ErrNotExist within the error says that this host has none.
func LoadCA(root paths.Root) (*CA, error) {
	cert, err := os.ReadFile(Files(root).CA)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's CA: %w", err)
	}
	key, err := os.ReadFile(filepath.Join(clusterDir(root), "ca.key"))
	if err != nil {
		return nil, fmt.Errorf("read the cluster's CA: %w", err)
	}
	return ParseCA(cert, key)
}

// Issue certifies the key of a request under the name given, whatever name the request has. The result is PEM.
func (ca *CA) Issue(csrPEM []byte, name string) ([]byte, error) {
	block, _ := pem.Decode(csrPEM)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, fmt.Errorf("certify %s: this is no certificate request", name)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		return nil, fmt.Errorf("certify %s: %w", name, err)
	}
	tmpl, err := template(name)
	if err != nil {
		return nil, fmt.Errorf("certify %s: %w", name, err)
	}
	tmpl.DNSNames = []string{name}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, csr.PublicKey, ca.key)
	if err != nil {
		return nil, fmt.Errorf("certify %s: %w", name, err)
	}
	return encodePEM("CERTIFICATE", der), nil
}

// PeerName checks that a connection's certificate was issued by the cluster's CA, and returns the member's name.
func (c *Cluster) PeerName(certs []*x509.Certificate) (string, error) {
	if len(certs) == 0 {
		return "", errors.New("the other side showed no certificate")
	}
	_, err := certs[0].Verify(x509.VerifyOptions{Roots: c.CA, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return "", fmt.Errorf("the other side's certificate is not of this cluster: %w", err)
	}
	return certs[0].Subject.CommonName, nil
}
