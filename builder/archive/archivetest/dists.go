// SPDX-License-Identifier: Apache-2.0

package archivetest

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/ulikunitz/xz"
)

func (o Options) date() time.Time {
	if o.Date.IsZero() {
		return time.Date(2025, time.January, 1, 0, 0, 0, 0, time.UTC)
	}
	return o.Date
}

// signing returns the configuration of signatures, which has their time.
func (o Options) signing() *packet.Config {
	at := o.SignedAt
	if at.IsZero() {
		at = o.date()
	}
	return &packet.Config{Time: func() time.Time { return at }}
}

// makeDists returns all files below dists/.
func (r *Repository) makeDists() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, s := range r.suites {
		names := []string{s.codename}
		name := s.codename
		for _, alias := range slices.Sorted(maps.Keys(r.aliases)) {
			if r.aliases[alias] == s.codename {
				names = append(names, alias)
				name = alias
			}
		}
		dist, err := r.makeDist(s, name)
		if err != nil {
			return nil, fmt.Errorf("suite %s: %w", s.codename, err)
		}
		for _, n := range names {
			for path, data := range dist {
				files["dists/"+n+"/"+path] = data
			}
		}
	}
	return files, nil
}

// makeDist returns the files of one suite.
func (r *Repository) makeDist(s *suite, name string) (map[string][]byte, error) {
	indexes := map[string][]byte{} // with a checksum in Release
	arches := s.architectures()
	compressions := r.options.Compressions
	if compressions == nil {
		compressions = []string{".gz"}
	}
	for _, component := range s.components() {
		for _, arch := range append([]string{"all"}, arches...) {
			if arch == "all" && !r.options.SeparateAll && !r.options.NoAll {
				continue
			}
			plain, err := s.packages(r.pool, component, arch, !r.options.SeparateAll)
			if err != nil {
				return nil, err
			}
			base := component + "/binary-" + arch + "/Packages"
			indexes[base] = plain // listed even if it does not exist, as in Debian
			for _, suffix := range compressions {
				if indexes[base+suffix], err = compress(plain, suffix); err != nil {
					return nil, err
				}
				if data := indexes[base+suffix]; r.options.DamagedIndexes && suffix != "" {
					indexes[base+suffix] = data[:len(data)/2]
				}
			}
		}
	}
	files := map[string][]byte{}
	for path, data := range indexes {
		suffix := strings.TrimPrefix(path[strings.LastIndexByte(path, '/'):], "/Packages")
		if !slices.Contains(compressions, suffix) {
			continue
		}
		files[path] = data
		if !r.options.NoByHash {
			dir := path[:strings.LastIndexByte(path, '/')]
			files[fmt.Sprintf("%s/by-hash/SHA256/%x", dir, sha256.Sum256(data))] = data
		}
	}
	release := r.release(s, name, arches, indexes)
	files["Release"] = release
	var err error
	if r.options.Detached {
		files["Release.gpg"], err = detachedSignature(r.key, release, r.options.signing())
		return files, err
	}
	var signed bytes.Buffer
	w, err := clearsign.Encode(&signed, r.key.PrivateKey, r.options.signing())
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(release); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	files["InRelease"] = signed.Bytes()
	return files, nil
}

// detachedSignature signs a file with a key that may have expired, which ArmoredDetachSign rejects.
func detachedSignature(key *openpgp.Entity, data []byte, config *packet.Config) ([]byte, error) {
	public := key.PrimaryKey
	s := &packet.Signature{
		Version: public.Version, SigType: packet.SigTypeBinary, PubKeyAlgo: public.PubKeyAlgo, Hash: config.Hash(),
		CreationTime: config.Now(), IssuerKeyId: &public.KeyId, IssuerFingerprint: public.Fingerprint,
	}
	h, err := s.PrepareSign(config)
	if err != nil {
		return nil, err
	}
	h.Write(data) // a hash never fails
	if err := s.Sign(h, key.PrivateKey, config); err != nil {
		return nil, err
	}
	var signature bytes.Buffer
	w, err := armor.Encode(&signature, openpgp.SignatureType, nil)
	if err != nil {
		return nil, err
	}
	err = errors.Join(s.Serialize(w), w.Close())
	return signature.Bytes(), err
}

// release returns the text of a Release file.
func (r *Repository) release(s *suite, name string, arches []string, indexes map[string][]byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Origin: Debian\nLabel: Debian\nSuite: %s\nCodename: %s\n", name, s.codename)
	fmt.Fprintf(&b, "Date: %s\n", r.options.date().UTC().Format("Mon, 02 Jan 2006 15:04:05 UTC"))
	validUntil := r.options.ValidUntil
	if !s.validUntil.IsZero() {
		validUntil = s.validUntil
	}
	if strings.HasSuffix(s.codename, "-backports") {
		b.WriteString("NotAutomatic: yes\nButAutomaticUpgrades: yes\n")
	}
	if !validUntil.IsZero() {
		fmt.Fprintf(&b, "Valid-Until: %s\n", validUntil.UTC().Format("Mon, 02 Jan 2006 15:04:05 UTC"))
	}
	if !r.options.NoByHash {
		b.WriteString("Acquire-By-Hash: yes\n")
	}
	all := "all "
	switch {
	case r.options.NoAll:
		all = ""
	case !r.options.SeparateAll:
		b.WriteString("No-Support-for-Architecture-all: Packages\n")
	}
	fmt.Fprintf(&b, "Architectures: %s%s\nComponents: %s\nDescription: made for a test\nSHA256:\n",
		all, strings.Join(arches, " "), strings.Join(s.components(), " "))
	for _, path := range slices.Sorted(maps.Keys(indexes)) {
		fmt.Fprintf(&b, " %x %8d %s\n", sha256.Sum256(indexes[path]), len(indexes[path]), path)
	}
	return b.Bytes()
}

// architectures returns the architectures of the suite's packages and amd64.
func (s *suite) architectures() []string {
	arches := []string{"amd64"}
	for _, d := range s.debs {
		if d.Architecture != "all" {
			arches = append(arches, d.Architecture)
		}
	}
	slices.Sort(arches)
	return slices.Compact(arches)
}

// components returns main and the other components of the suite's packages.
func (s *suite) components() []string {
	components := slices.Sorted(maps.Keys(s.stanzas))
	if !slices.Contains(components, mainComponent) {
		components = append([]string{mainComponent}, components...)
	}
	for _, d := range s.debs {
		if c := d.component(); !slices.Contains(components, c) {
			components = append(components, c)
		}
	}
	return components
}

// packages returns the text of a Packages file. withAll includes the packages of architecture "all".
func (s *suite) packages(pool map[string][]byte, component, arch string, withAll bool) ([]byte, error) {
	var b bytes.Buffer
	for _, d := range s.debs {
		if d.component() != component {
			continue
		}
		if d.Architecture != arch && (d.Architecture != "all" || !withAll) {
			continue
		}
		data, ok := pool[d.filename()]
		if !ok {
			return nil, fmt.Errorf("package %s is not in the pool", d.Name)
		}
		b.WriteString(d.control())
		fmt.Fprintf(&b, "Filename: %s\nSize: %d\nSHA256: %x\n\n", d.filename(), len(data), sha256.Sum256(data))
	}
	if arch != "all" {
		b.WriteString(s.stanzas[component])
	}
	return b.Bytes(), nil
}

func compress(plain []byte, suffix string) ([]byte, error) {
	var b bytes.Buffer
	switch suffix {
	case "":
		return plain, nil
	case ".gz":
		w := gzip.NewWriter(&b)
		if _, err := w.Write(plain); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
	case ".xz":
		w, err := xz.NewWriter(&b)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(plain); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("unsupported compression %q", suffix)
	}
	return b.Bytes(), nil
}
