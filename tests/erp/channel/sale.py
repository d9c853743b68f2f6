"""What a channel says of an order stands on the Tryton sale."""

from trytond.model import fields
from trytond.pool import PoolMeta
from trytond.transaction import Transaction


class Sale(metaclass=PoolMeta):
    __name__ = "sale.sale"

    channel_key = fields.Char("Channel's Key", readonly=True)
    channel_fingerprint = fields.Char("Fingerprint", readonly=True)
    correlation_id = fields.Char("Correlation ID", readonly=True)

    @classmethod
    def __register__(cls, module_name):
        super().__register__(module_name)
        # Tryton adds no constraints on SQLite, so these are indices: one
        # sale for each key, and one for each of the channels' numbers
        cursor = Transaction().connection.cursor()
        for column in "channel_key", "reference":
            cursor.execute(f"CREATE UNIQUE INDEX IF NOT EXISTS sale_{column}"
                           f"_one ON sale_sale ({column})")


class SaleLine(metaclass=PoolMeta):
    __name__ = "sale.line"

    ship_from = fields.Many2One("stock.location", "Ship from",
                                domain=[("type", "=", "warehouse")])

    def get_warehouse(self, name):
        if self.ship_from:
            return self.ship_from.id
        return super().get_warehouse(name)
