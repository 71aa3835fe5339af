"""What watches an edge, held against its bars: `edgesight bench watch`."""
