// SPDX-License-Identifier: Apache-2.0

//go:build boot

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// TestHybridImageBoots boots an image for each kind of firmware with the one that is the strictest; make test-matrix has
// the others. A command runs update-grub.
func TestHybridImageBoots(t *testing.T) {
	nonce := fmt.Sprintf("hybrid-%d", os.Getpid())
	image := buildImage(t, strings.ReplaceAll(witness, "NONCE", nonce), "--boot", "hybrid", "--part-type", "gpt",
		"--run", "update-grub")
	checkPartitions(t, image)
	console := bootGrub(t, image, nonce, diskimagetest.BootOptions{Firmware: diskimagetest.SecureBoot})
	wantOnConsole(t, console, "[Ss]ecure boot enabled")
}

// bootGrub boots an image, and expects GRUB and the witness on the console.
func bootGrub(t *testing.T, image, nonce string, o diskimagetest.BootOptions) string {
	t.Helper()
	return bootWitness(t, image, "GRUB", nonce, o)
}

// bootWitness boots an image, and expects the output of its boot loader and of the witness on the console.
func bootWitness(t *testing.T, image, loader, nonce string, o diskimagetest.BootOptions) string {
	t.Helper()
	o.Args = append([]string{"-nic", "user,model=virtio-net-pci"}, o.Args...)
	o.Timeout = max(o.Timeout, 10*time.Minute)
	console := diskimagetest.Boot(t, image, o)
	wantOnConsole(t, console, loader, "witness "+nonce+` .*address=10\.0\.2\.15 .*failed=0`)
	return console
}

// checkPartitions checks the partition table with sfdisk and each file system with its fsck.
func checkPartitions(t *testing.T, image string) {
	t.Helper()
	diskimagetest.Run(t, "sfdisk", "--verify", image)
	var dump struct {
		PartitionTable struct {
			Partitions []struct {
				Start, Size int64 // sectors
				Type        string
			}
		}
	}
	if err := json.Unmarshal([]byte(diskimagetest.Run(t, "sfdisk", "--json", image)), &dump); err != nil {
		t.Fatal(err)
	}
	if len(dump.PartitionTable.Partitions) == 0 {
		t.Errorf("%s has no partitions", image)
	}
	const (
		biosBoot  = "21686148-6449-6E6F-744E-656564454649"
		msdosSwap = "82"
	)
	for _, p := range dump.PartitionTable.Partitions {
		if p.Type != biosBoot && p.Type != msdosSwap {
			diskimagetest.Fsck(t, image, p.Start*512, p.Size*512)
		}
	}
}
