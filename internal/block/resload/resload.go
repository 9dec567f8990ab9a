// Package resload finds and reads a host's DRBD configuration files and hands them to the resfile core.
package resload

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"holdfast/internal/block/resfile"
	"holdfast/internal/paths"
)

// maxFile bounds a configuration file, in bytes.
const maxFile = 4 << 20

// Load reads the configuration of a host: drbd.conf with what it includes, or, where that file is absent,
// drbd.d/global_common.conf and drbd.d/*.res. Absolute include patterns are taken relative to root. The names in messages
// and in the result are those without root. The error names file and line, or the file that cannot be read.
func Load(root paths.Root) (*resfile.Config, error) {
	l := loader{root: root}
	name := l.outside(root.DRBD())
	src, err := l.read(root.DRBD())
	if errors.Is(err, fs.ErrNotExist) {
		return l.directory(name)
	}
	if err != nil {
		return nil, fmt.Errorf("read the DRBD configuration: %w", err)
	}
	return resfile.Parse(name, src, l.include)
}

// LoadFile reads one configuration file given by its path on this host, and what it includes.
func LoadFile(file string) (*resfile.Config, error) {
	l := loader{root: "/"}
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	src, err := l.read(abs)
	if err != nil {
		return nil, fmt.Errorf("read the DRBD configuration: %w", err)
	}
	return resfile.Parse(abs, src, l.include)
}

// Locate finds this node's floating sections by the addresses its interfaces have now.
func Locate(c *resfile.Config, node string) error {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("find this host's addresses: %w", err)
	}
	var addresses []netip.Addr
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				addresses = append(addresses, ip.Unmap())
			}
		}
	}
	c.Locate(node, addresses)
	return nil
}

type loader struct{ root paths.Root }

// prefix is what root adds before a path of the host's.
func (l loader) prefix() string { return strings.TrimSuffix(filepath.Join("/", string(l.root)), "/") }

func (l loader) outside(path string) string { return strings.TrimPrefix(path, l.prefix()) }

// directory stands in for a missing drbd.conf with what DRBD's packages put there.
func (l loader) directory(name string) (*resfile.Config, error) {
	dir := l.root.DRBDDir()
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("read the DRBD configuration: neither %s nor %s is there", name, l.outside(dir))
	}
	var lines []string
	for _, f := range []string{"global_common.conf", "*.res"} {
		lines = append(lines, fmt.Sprintf("include %q;", filepath.Join(l.outside(dir), f)))
		if _, err := os.Stat(filepath.Join(dir, f)); err != nil && f != "*.res" {
			lines = lines[:0]
		}
	}
	return resfile.Parse(name, []byte(strings.Join(lines, "\n")), l.include)
}

func (l loader) include(pattern string) ([]resfile.File, error) {
	names, err := filepath.Glob(l.prefix() + pattern)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var files []resfile.File
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			continue
		}
		src, err := l.read(name)
		if err != nil {
			return nil, err
		}
		files = append(files, resfile.File{Name: l.outside(name), Src: src})
	}
	return files, nil
}

func (l loader) read(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("%s: not a file of at most %d bytes", name, maxFile)
	}
	return os.ReadFile(name)
}
