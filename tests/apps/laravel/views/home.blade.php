<!DOCTYPE html>
<title>Shop</title>
<link rel="stylesheet" href="{{ asset('style.css') }}">
<img src="{{ Illuminate\Support\Facades\Storage::url('logo.txt') }}">
@for ($n = 1; $n <= 60; $n++)
<a href="{{ route('order', ['id' => $n, 'page' => $n % 7]) }}">{{ $n }}</a>
@endfor
