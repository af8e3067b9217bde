<?php

declare(strict_types=1);

final class Orders
{
    private PDO $db;

    public function __construct(string $database)
    {
        $this->db = new PDO("sqlite:$database", options: [PDO::ATTR_DEFAULT_FETCH_MODE => PDO::FETCH_ASSOC]);
        $this->db->exec('PRAGMA busy_timeout = 5000');
        $this->db->exec('CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, article TEXT, invoice TEXT)');
    }

    public function all(): array
    {
        return $this->db->query('SELECT * FROM orders ORDER BY id')->fetchAll();
    }

    public function one(int $id): ?array
    {
        $found = $this->db->prepare('SELECT * FROM orders WHERE id = ?');
        $found->execute([$id]);
        return $found->fetch() ?: null;
    }

    public function add(string $article): int
    {
        $this->db->prepare('INSERT INTO orders (article) VALUES (?)')->execute([$article]);
        return (int) $this->db->lastInsertId();
    }

    public function invoice(int $id): string
    {
        $invoice = sprintf('invoice-%04d', $id);
        $this->db->prepare('UPDATE orders SET invoice = ? WHERE id = ?')->execute([$invoice, $id]);
        return $invoice;
    }
}
