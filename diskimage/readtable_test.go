// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
)

func TestReadTableReadsTablesOfWriteTable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		table  TableKind
		sector Size
	}{{MSDOS, SectorSize}, {GPT, SectorSize}, {MSDOS, SectorSize4K}, {GPT, SectorSize4K}} {
		table := tt.table
		layout, err := NewLayout(Request{Size: 64 * MiB, Table: table, SectorSize: tt.sector, ID: uuid.Max, Arch: "amd64",
			Partitions: []PartitionRequest{
				{Role: RoleBoot, Size: 8 * MiB}, {Role: RoleRoot}, {Role: RoleSwap, Size: 4 * MiB},
			}})
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := errors.Join(f.Truncate(int64(layout.Size)), WriteTable(f, layout)); err != nil {
			t.Fatal(err)
		}
		// An msdos table has no sector size, only the file systems show it.
		magic := int64(layout.Partitions[0].Start) + 1024 + 56
		if _, err := f.WriteAt([]byte{0x53, 0xef}, magic); err != nil {
			t.Fatal(err)
		}
		if got := DetectSectorSize(f, layout.Size); got != tt.sector {
			t.Errorf("%s: sectors of %d bytes, want %d", table, got, tt.sector)
		}
		found, err := ReadTable(f, layout.Size)
		if err != nil || len(found) != len(layout.Partitions) {
			t.Fatalf("%s: found %v (%v)", table, found, err)
		}
		for i, p := range layout.Partitions {
			got := found[i]
			if got.Number != p.Number || got.Start != p.Start || got.Size != p.Size ||
				table == GPT && got.Type != p.Type ||
				table == MSDOS && got.Code != p.Code || got.Table() != table || got.UUID != p.PartUUID ||
				got.TypeName() != []string{"boot", "root", "swap"}[i] && table == GPT ||
				got.TypeName() != []string{"linux", "linux", "swap"}[i] && table == MSDOS {
				t.Errorf("%s: found %+v, want %+v", table, got, p)
			}
		}
		if _, err := ReadTable(f, 32*MiB); err == nil {
			t.Errorf("%s: a truncated disk was accepted", table)
		}
		if err := errors.Join(f.Truncate(0), f.Truncate(int64(layout.Size))); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadTable(f, layout.Size); !errors.Is(err, ErrNoTable) {
			t.Errorf("an empty disk: %v", err)
		}
	}
}
