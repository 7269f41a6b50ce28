// SPDX-License-Identifier: Apache-2.0

package fstest

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"
)

// StructSizes are sizes of structures on disk.
type StructSizes []struct {
	Struct any
	Want   int
}

// TestStructSizes checks the sizes of structures on disk.
func TestStructSizes(t *testing.T, sizes StructSizes) {
	t.Helper()
	for _, tt := range sizes {
		if got := binary.Size(tt.Struct); got != tt.Want {
			t.Errorf("%T: %d bytes, want %d", tt.Struct, got, tt.Want)
		}
	}
}

// FieldOffsets are offsets of fields in structures on disk.
type FieldOffsets []struct {
	Struct any
	Field  string
	Want   int
}

// TestFieldOffsets checks the offsets of fields in structures on disk.
func TestFieldOffsets(t *testing.T, offsets FieldOffsets) {
	t.Helper()
	for _, tt := range offsets {
		offset, found := 0, false
		for field := range reflect.TypeOf(tt.Struct).Fields() {
			if found = field.Name == tt.Field; found {
				break
			}
			offset += binary.Size(reflect.Zero(field.Type).Interface())
		}
		if !found || offset != tt.Want {
			t.Errorf("%T.%s is at %#x, want %#x", tt.Struct, tt.Field, offset, tt.Want)
		}
	}
}

// TestPutMethods checks that the methods of structures write the same as encoding/binary.
func TestPutMethods(t *testing.T, structs ...interface{ Put([]byte) }) {
	t.Helper()
	for _, s := range structs {
		value := reflect.ValueOf(s).Elem()
		numbers := make([]byte, binary.Size(value.Interface())) // no two adjacent bytes are equal
		for i := range numbers {
			numbers[i] = byte(i + 1)
		}
		if _, err := binary.Decode(numbers, binary.LittleEndian, s); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(numbers))
		s.Put(got)
		want, err := binary.Append(nil, binary.LittleEndian, value.Interface())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%T: got\n% x, want\n% x", s, got, want)
		}
	}
}
