// SPDX-License-Identifier: Apache-2.0

package debfile

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Repack writes a copy of a .deb that takes a tenth of the time to decompress: its members are compressed with the
// fastest level of zstd, and take a quarter more room than with xz.
func Repack(w io.Writer, deb io.ReadSeeker) error {
	if _, err := io.WriteString(w, arMagic); err != nil {
		return err
	}
	if err := writeMember(w, "debian-binary", []byte("2.0\n")); err != nil {
		return err
	}
	for _, stem := range []string{"control.tar", "data.tar"} {
		if _, err := deb.Seek(0, io.SeekStart); err != nil {
			return err
		}
		packed, err := repackMember(deb, stem)
		if err != nil {
			return fmt.Errorf("repack %s: %w", stem, err)
		}
		if err := writeMember(w, stem+".zst", packed); err != nil {
			return err
		}
	}
	return nil
}

// repackMember returns a member, compressed anew.
func repackMember(deb io.Reader, stem string) ([]byte, error) {
	plain, err := open(deb, stem)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	var packed bytes.Buffer
	z, err := zstd.NewWriter(&packed, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	want := sha256.New()
	if _, err := io.Copy(z, io.TeeReader(plain, want)); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	// What has been checked against a signed digest must not become something else.
	again, err := Decompress(bytes.NewReader(packed.Bytes()), stem+".zst")
	if err != nil {
		return nil, err
	}
	defer again.Close()
	got := sha256.New()
	if _, err := io.Copy(got, again); err != nil {
		return nil, err
	}
	if !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		return nil, errors.New("the copy differs")
	}
	return packed.Bytes(), nil
}

// writeMember writes a member of an ar archive.
func writeMember(w io.Writer, name string, data []byte) error {
	header := fmt.Appendf(nil, "%-16s%-12d%-6d%-6d%-8s%-10d%s", name, 0, 0, 0, "100644", len(data), arHeaderMark)
	if len(data)%2 == 1 {
		data = append(data, '\n')
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	_, err := w.Write(data)
	return err
}
